/* The token in a request's head, and what a connection remembers of it. */
#include "../../proxy/identity_jwt.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "../../proxy/front.h"
#include "jwt_harness.h"

#define NOW  1700000000
#define GOOD "{'iss':'i','aud':'a','sub':'alice','exp':1700000600,'nbf':1700000000,'plan':'p'}"

static const struct jwt_tier tier = {BYTES_LITERAL("p"), BYTES_LITERAL("gold")};
static struct jwt_conf conf;
static struct config config;
static struct arena *arena, *of_keys;
static struct peer_name peer;
static const struct hash_key marks = {1, 2};
static char *good;

static int setup(void **state) {
    char why[JWT_WHY_MAX];
    const char *hint;
    (void)state;
    make_signers();
    arena = arena_new(MIB(1));
    of_keys = arena_new(MIB(1));
    conf = (struct jwt_conf){.header = BYTES_LITERAL("Authorization"),
                             .bearer = true,
                             .algorithms = {true, true, true},
                             .issuer = BYTES_LITERAL("i"),
                             .audience = BYTES_LITERAL("a"),
                             .subject = BYTES_LITERAL("sub"),
                             .tier_claim = BYTES_LITERAL("plan"),
                             .tiers = &tier,
                             .tier_count = 1};
    assert_null(jwt_keys_read(&conf, of_keys, bytes_str(jwks_text), why, &hint));
    config.clients = (struct clients_conf){
        .jwt = &conf, .pseudonym_key = "0123456789abcdef", .pseudonym_key_len = 16};
    good = token_of(BY_ED, "{'alg':'EdDSA'}", GOOD);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    free(good);
    jwt_keys_free(&conf);
    arena_free(arena);
    arena_free(of_keys);
    free_signers();
    return 0;
}

static int forget(void **state) {
    (void)state;
    config.serial = 1;
    memset(&peer, 0, sizeof(peer));
    return 0;
}

/* A request with up to two header lines of that name. */
static enum identity_status ask(const char *name, const char *first, const char *second,
                                uint64_t now_s, struct client *out, struct identity_refusal *why) {
    struct header headers[] = {{BYTES_LITERAL("Host"), BYTES_LITERAL("x")},
                               {bytes_str(name), bytes_str(first)},
                               {bytes_str(name), bytes_str(second)}};
    struct message m = {.headers = headers, .header_count = 1 + (first != NULL) + (second != NULL)};
    const struct identity_request r = {.config = &config,
                                       .message = &m,
                                       .peer = &peer,
                                       .marks = &marks,
                                       .arena = arena,
                                       .now_s = now_s};
    arena_reset(arena);
    *why = (struct identity_refusal){.said = NULL};
    return identity_jwt(&r, out, why);
}

static const struct {
    const char *name, *before, *after; /* of the token */
    enum identity_status want;
} forms[] = {
    {"Authorization", "Bearer ", "", IDENTITY_PROVEN},
    {"authorization", "bearer ", "", IDENTITY_PROVEN},
    {"AUTHORIZATION", "BEARER   ", "", IDENTITY_PROVEN},
    {"Authorization", "Bearer\t", "", IDENTITY_REFUSED},
    {"Authorization", "Bearer \t", "", IDENTITY_REFUSED},
    {"Authorization", "Bearer ", " ", IDENTITY_REFUSED},
    {"Authorization", "Bearer ", ",", IDENTITY_REFUSED},
    {"Authorization", "Bearer \"", "\"", IDENTITY_REFUSED},
    {"Authorization", "Bearer=", "", IDENTITY_REFUSED},
    {"Authorization", "Bearer,", "", IDENTITY_REFUSED},
    {"Authorization", "Bearer Bearer ", "", IDENTITY_REFUSED},
    {"Authorization", "Bearer2 ", "", IDENTITY_ABSENT},
    {"Authorization", "Bearer-", "", IDENTITY_ABSENT},
    {"Authorization", "Bear ", "", IDENTITY_ABSENT},
    {"Authorization", "Token ", "", IDENTITY_ABSENT},
    {"Authorization", "Basic ", "", IDENTITY_ABSENT},
    {"Authorization", "", "", IDENTITY_ABSENT},
    {"Authorization", " Bearer ", "", IDENTITY_ABSENT},
    {"Authorization2", "Bearer ", "", IDENTITY_ABSENT},
    {"X-Authorization", "Bearer ", "", IDENTITY_ABSENT},
};

static void test_forms_of_the_header(void **state) {
    unsigned wrong = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        char value[4000];
        struct client who;
        struct identity_refusal why;
        snprintf(value, sizeof(value), "%s%s%s", forms[i].before, good, forms[i].after);
        enum identity_status s = ask(forms[i].name, value, NULL, NOW, &who, &why);
        if (s != forms[i].want ||
            (s == IDENTITY_REFUSED && strcmp(why.said, "invalid token") != 0)) {
            print_error("%s: %s: %d\n", forms[i].name, value, (int)s);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

static void test_empty_and_twice(void **state) {
    struct client who;
    struct identity_refusal why;
    char value[4000];
    (void)state;
    snprintf(value, sizeof(value), "Bearer %s", good);
    assert_int_equal(ask("Authorization", NULL, NULL, NOW, &who, &why), IDENTITY_ABSENT);
    assert_int_equal(ask("Authorization", "", NULL, NOW, &who, &why), IDENTITY_ABSENT);
    assert_int_equal(ask("Authorization", "Bearer", NULL, NOW, &who, &why), IDENTITY_REFUSED);
    assert_int_equal(ask("Authorization", "Bearer ", NULL, NOW, &who, &why), IDENTITY_REFUSED);
    assert_int_equal(ask("Authorization", value, value, NOW, &who, &why), IDENTITY_REFUSED);
    assert_int_equal(ask("Authorization", "Basic x", value, NOW, &who, &why), IDENTITY_REFUSED);
    assert_int_equal(ask("Authorization", "Basic x", "Basic x", NOW, &who, &why), IDENTITY_REFUSED);
}

static void test_another_header_has_the_token_alone(void **state) {
    struct client who;
    struct identity_refusal why;
    char value[4000];
    (void)state;
    snprintf(value, sizeof(value), "Bearer %s", good);
    conf.header = BYTES_LITERAL("X-Token");
    conf.bearer = false;
    assert_int_equal(ask("x-token", good, NULL, NOW, &who, &why), IDENTITY_PROVEN);
    assert_int_equal(ask("x-token", value, NULL, NOW, &who, &why), IDENTITY_REFUSED);
    assert_int_equal(ask("x-token", "", NULL, NOW, &who, &why), IDENTITY_REFUSED);
    assert_int_equal(ask("Authorization", value, NULL, NOW, &who, &why), IDENTITY_ABSENT);
    conf.header = BYTES_LITERAL("Authorization");
    conf.bearer = true;
}

static void test_who_it_is(void **state) {
    struct client who;
    struct identity_refusal why;
    char value[4000], name[PSEUDONYM_MAX];
    (void)state;
    config_pseudonym(&config, "jwt", BYTES_LITERAL("alice"), name);
    snprintf(value, sizeof(value), "Bearer %s", good);
    for (int i = 0; i < 2; i++) { /* the second time out of memory */
        assert_int_equal(ask("Authorization", value, NULL, NOW, &who, &why), IDENTITY_PROVEN);
        assert_true(bytes_is(who.pseudonym, name) && bytes_eq(who.key, who.pseudonym));
        assert_true(bytes_is(who.tier, "gold"));
    }
}

/* A JWKS without keys shows whether a signature was checked. */
static void test_what_is_remembered(void **state) {
    struct client who;
    struct identity_refusal why;
    char value[4000], other[4000], *bob;
    uint32_t keys = conf.key_count;
    (void)state;
    bob = token_of(BY_ED, "{'alg':'EdDSA'}", "{'iss':'i','aud':'a','sub':'bob','exp':1700000600}");
    snprintf(value, sizeof(value), "Bearer %s", good);
    snprintf(other, sizeof(other), "Bearer %s", bob);
    assert_int_equal(ask("Authorization", value, NULL, NOW, &who, &why), IDENTITY_PROVEN);
    conf.key_count = 0;
    assert_int_equal(ask("Authorization", value, NULL, NOW, &who, &why), IDENTITY_PROVEN);
    assert_int_equal(ask("Authorization", value, NULL, NOW + 599, &who, &why), IDENTITY_PROVEN);
    /* Not another token, not beyond its end, not before its beginning. */
    assert_int_equal(ask("Authorization", other, NULL, NOW, &who, &why), IDENTITY_REFUSED);
    assert_int_equal(ask("Authorization", value, NULL, NOW + 600, &who, &why), IDENTITY_REFUSED);
    assert_int_equal(ask("Authorization", value, NULL, NOW - 1, &who, &why), IDENTITY_REFUSED);
    /* Not under another configuration: its keys may be others. */
    config.serial = 2;
    assert_int_equal(ask("Authorization", value, NULL, NOW, &who, &why), IDENTITY_REFUSED);
    config.serial = 1;
    conf.key_count = keys;
    assert_int_equal(ask("Authorization", value, NULL, NOW + 600, &who, &why), IDENTITY_REFUSED);
    assert_string_equal(why.said, "expired token");
    free(bob);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_forms_of_the_header, forget),
        cmocka_unit_test_setup(test_empty_and_twice, forget),
        cmocka_unit_test_setup(test_another_header_has_the_token_alone, forget),
        cmocka_unit_test_setup(test_who_it_is, forget),
        cmocka_unit_test_setup(test_what_is_remembered, forget),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
