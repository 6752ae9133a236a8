/* Certificates of connections that stay open, and whom they name.  OpenSSL's verdict is played. */
#include "../../proxy/tls.h"

static const char *played_fault(const struct sock *s, struct tls_context *c);
#define sock_peer_fault played_fault
#include "../../proxy/identity_mtls.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NOW   1700000000
#define BEGIN (NOW - 1000)
#define END   (NOW + 1000)

static const char *fault; /* what is found wrong when a chain is verified again */
static unsigned asked;    /* how often it was */

static const char *played_fault(const struct sock *s, struct tls_context *c) {
    (void)s, (void)c;
    asked++;
    return fault;
}

static const struct bytes match[] = {BYTES_LITERAL("team/*"), BYTES_LITERAL("one")};
static const struct option_pair tiers[] = {{BYTES_LITERAL("ml"), BYTES_LITERAL("gold"), 0, {0}},
                                           {BYTES_LITERAL("m*"), BYTES_LITERAL("free"), 0, {0}}};
static struct mtls_conf conf;
static struct listener_conf listener;
static struct config config;
static struct tls_peer certificate;
static struct peer_name peer;
static const struct hash_key marks = {1, 2};

static void name(enum tls_field field, uint32_t count, struct bytes text) {
    certificate.values[field] = (struct tls_value){count, text};
}

static int reset(void **state) {
    (void)state;
    fault = NULL;
    asked = 0;
    conf = (struct mtls_conf){.name = TLS_SAN_URI,
                              .match = match,
                              .match_count = 2,
                              .tier_by = TLS_OU,
                              .tiers = tiers,
                              .tier_count = 2};
    listener = (struct listener_conf){
        .tls = {.client_ca = BYTES_LITERAL("ca.pem"), .client_certificate = CERTIFICATE_REQUIRED},
        .context = (struct tls_context *)&listener};
    config = (struct config){.serial = 1,
                             .listeners = &listener,
                             .listener_count = 1,
                             .clients = {.mtls = &conf,
                                         .order = {BY_MTLS},
                                         .order_count = 1,
                                         .wanted = BYTES_LITERAL("a client certificate is needed"),
                                         .pseudonym_key = "0123456789abcdef",
                                         .pseudonym_key_len = 16}};
    certificate = (struct tls_peer){.not_before_s = BEGIN, .not_after_s = END};
    name(TLS_SAN_URI, 1, BYTES_LITERAL("one"));
    peer = (struct peer_name){.certificate = &certificate, .verified_under = 1, .verified_s = NOW};
    return 0;
}

static struct identity_request request_at(uint64_t now_s) {
    return (struct identity_request){
        .config = &config, .peer = &peer, .marks = &marks, .now_s = now_s};
}

/* What the log says; NULL: it holds. */
static const char *fault_at(uint64_t now_s) {
    struct identity_refusal why = {.said = NULL};
    struct identity_request r = request_at(now_s);
    bool ok = identity_certificate(&r, &why);
    assert_true(ok == (r.certificate == &certificate));
    if (ok)
        return NULL;
    assert_string_equal(why.said, "the client certificate does not hold any more");
    assert_false(why.token);
    return why.logged;
}

static void test_its_own_dates(void **state) {
    (void)state;
    assert_null(fault_at(NOW));
    assert_null(fault_at(BEGIN));
    assert_null(fault_at(END));
    assert_string_equal(fault_at(BEGIN - 1), "certificate: not yet good");
    assert_string_equal(fault_at(END + 1), "certificate: expired");
}

/* The handshake's verdict counts for a minute, under the configuration it was made under, while the
 * clock goes forward. */
static void test_when_it_is_verified_again(void **state) {
    (void)state;
    assert_null(fault_at(NOW + 59));
    assert_int_equal(asked, 0);
    assert_null(fault_at(NOW + 60));
    assert_int_equal(asked, 1);
    assert_null(fault_at(NOW + 119));
    assert_int_equal(asked, 1);
    assert_null(fault_at(NOW + 120));
    assert_int_equal(asked, 2);
    assert_null(fault_at(NOW + 119));
    assert_int_equal(asked, 3);
    config.serial = 2;
    assert_null(fault_at(NOW + 119));
    assert_null(fault_at(NOW + 119));
    assert_int_equal(asked, 4);
}

static void test_what_does_not_hold_is_not_remembered(void **state) {
    (void)state;
    config.serial = 2;
    fault = "certificate: revoked";
    assert_string_equal(fault_at(NOW), "certificate: revoked");
    assert_string_equal(fault_at(NOW), "certificate: revoked");
    assert_int_equal(asked, 2);
    fault = NULL;
    assert_null(fault_at(NOW));
}

/* Whether the connection may go on without one. */
static bool may_be_absent(void) {
    struct identity_refusal why = {.said = NULL};
    struct identity_request r = request_at(NOW);
    peer.certificate = NULL;
    bool ok = identity_certificate(&r, &why);
    assert_null(r.certificate);
    assert_true(ok || strcmp(why.logged, "certificate: none") == 0);
    return ok;
}

static void test_none_was_shown(void **state) {
    (void)state;
    assert_false(may_be_absent());
    listener.tls.client_certificate = CERTIFICATE_UNSAID;
    assert_false(may_be_absent());
    listener.tls.client_certificate = CERTIFICATE_OPTIONAL;
    assert_true(may_be_absent());
}

/* A certificate that nobody vouches for under this configuration is none. */
static void test_nobody_asks_any_more(void **state) {
    struct identity_refusal why = {.said = NULL};
    struct identity_request r = request_at(NOW);
    (void)state;
    listener.tls.client_ca = bytes_of(NULL, 0);
    assert_true(identity_certificate(&r, &why));
    assert_null(r.certificate);
    listener.tls.client_ca = BYTES_LITERAL("ca.pem");
    peer.listener = -1;
    assert_true(identity_certificate(&r, &why));
    assert_null(r.certificate);
}

#define TEXT(s)                                                                                    \
    { 1, BYTES_LITERAL(s) }
#define UNFIT(n)                                                                                   \
    {                                                                                              \
        n, {                                                                                       \
            NULL, 0                                                                                \
        }                                                                                          \
    }
#define REFUSED(s) NULL, "certificate: " s

static const struct {
    struct tls_value uri, unit;
    const char *tier, *logged; /* tier NULL: refused */
} names[] = {
    {TEXT("one"), UNFIT(0), "", NULL},
    {TEXT("team/a"), TEXT("ml"), "gold", NULL},
    {TEXT("team/"), TEXT("mx"), "free", NULL},
    {TEXT("one"), TEXT("x"), "", NULL},
    {UNFIT(0), TEXT("ml"), REFUSED("no name")},
    {UNFIT(1), TEXT("ml"), REFUSED("a name that cannot be one")},
    {UNFIT(2), TEXT("ml"), REFUSED("several names")},
    {TEXT("two"), TEXT("ml"), REFUSED("name not in match")},
    {TEXT("team"), TEXT("ml"), REFUSED("name not in match")},
    {TEXT("One"), TEXT("ml"), REFUSED("name not in match")},
    {TEXT("one"), UNFIT(1), REFUSED("no one value for the tier")},
    {TEXT("one"), UNFIT(2), REFUSED("no one value for the tier")},
};

static void test_whom_it_names(void **state) {
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char pseudonym[PSEUDONYM_MAX];
        struct identity_refusal why = {.said = NULL};
        struct client who = {.tier = {NULL, 0}};
        reset(state);
        struct identity_request r = request_at(NOW);
        name(TLS_SAN_URI, names[i].uri.count, names[i].uri.text);
        name(TLS_OU, names[i].unit.count, names[i].unit.text);
        r.certificate = &certificate;
        /* The second time it is remembered. */
        for (int again = 0; again < 2; again++) {
            enum identity_status s = identity_mtls(&r, &who, &why);
            assert_int_equal(s, names[i].tier != NULL ? IDENTITY_PROVEN : IDENTITY_REFUSED);
            if (s == IDENTITY_REFUSED) {
                assert_string_equal(why.said, "the client certificate names no client");
                assert_string_equal(why.logged, names[i].logged);
                continue;
            }
            config_pseudonym(&config, "mtls", names[i].uri.text, pseudonym);
            assert_true(bytes_is(who.pseudonym, pseudonym) && bytes_is(who.key, pseudonym));
            assert_true(bytes_is(who.tier, names[i].tier));
        }
    }
}

/* What a connection remembers is for this kind of credential, under this configuration. */
static void test_the_memory_is_of_certificates(void **state) {
    struct identity_refusal why = {.said = NULL};
    struct client who;
    struct identity_request r = request_at(NOW);
    (void)state;
    assert_int_equal(identity_mtls(&r, &who, &why), IDENTITY_ABSENT);
    r.certificate = &certificate;
    assert_int_equal(identity_mtls(&r, &who, &why), IDENTITY_PROVEN);
    assert_true(identity_recall(&r, BY_MTLS, BYTES_LITERAL("one"), &who));
    assert_false(identity_recall(&r, BY_MTLS, BYTES_LITERAL("on"), &who));
    assert_false(identity_recall(&r, BY_API_KEY, BYTES_LITERAL("one"), &who));
    assert_false(identity_recall(&r, BY_JWT, BYTES_LITERAL("one"), &who));
    config.serial = 2;
    assert_false(identity_recall(&r, BY_MTLS, BYTES_LITERAL("one"), &who));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_its_own_dates, reset),
        cmocka_unit_test_setup(test_when_it_is_verified_again, reset),
        cmocka_unit_test_setup(test_what_does_not_hold_is_not_remembered, reset),
        cmocka_unit_test_setup(test_none_was_shown, reset),
        cmocka_unit_test_setup(test_nobody_asks_any_more, reset),
        cmocka_unit_test_setup(test_whom_it_names, reset),
        cmocka_unit_test_setup(test_the_memory_is_of_certificates, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
