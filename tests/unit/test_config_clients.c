#include "../../proxy/config_clients.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "../../proxy/tls.h"
#include "config_harness.h"

static void test_keys_are_found_by_their_hash(void **state) {
    (void)state;
    struct config *c = must_read(good_text);
    const struct api_key *alice = config_api_key(c, BYTES_LITERAL("alice-has-a-long-key"), 1);
    assert_non_null(alice);
    assert_int_equal(c->clients.key_count, 2);
    assert_string_equal(alice->id.at, "alice");
    assert_string_equal(alice->tier.at, "gold");
    assert_int_equal(alice->not_after_s, 0);
    assert_true(bytes_is(alice->client.tier, "gold"));
    assert_true(bytes_eq(alice->client.key, alice->client.pseudonym));
    assert_null(config_api_key(c, BYTES_LITERAL("alice-has-a-long-kez"), 1));
    assert_null(config_api_key(c, BYTES_LITERAL("alice-has-a-long-key "), 1));
    assert_null(config_api_key(c, BYTES_LITERAL(""), 1));
    config_unref(c);
}

static void test_a_key_ends_with_its_day(void **state) {
    (void)state;
    struct config *c = must_read(good_text);
    struct bytes bob = BYTES_LITERAL("bob-has-one-that-ended");
    /* 2020-02-29T23:59:59Z is 1583020799. */
    assert_non_null(config_api_key(c, bob, 1583020799));
    assert_null(config_api_key(c, bob, 1583020800));
    assert_int_equal(config_api_key(c, bob, 1)->not_after_s, 1583020799);
    config_unref(c);
}

/* What a key says itself goes before what its group says, but for the end: the earlier counts. */
static void test_groups(void **state) {
    static const struct {
        const char *name, *tier;
        uint64_t not_after_s;
    } wanted[] = {{"a", "gold", 1609459199},
                  {"b", "lead", 1577923199},
                  {"c", "gold", 1609459199},
                  {"d", "lead", 0},
                  {"e", "gold", 0}};
    struct buf text;
    (void)state;
    buf_init(&text, KIB(4));
    buf_add_str(&text, "groups: {lab: {tier: gold, not_after: 2020-12-31}, open: {tier: gold}}\n"
                       "keys:\n");
    static const char *const more[] = {
        "group: lab", "group: lab, tier: lead, not_after: 2020-01-01",
        "group: lab, not_after: 2030-01-01", "tier: lead", "group: open"};
    for (size_t i = 0; i < 5; i++) {
        char hex[SHA256_HEX], key[8];
        snprintf(key, sizeof(key), "k%zu", i);
        hash_hex(key, hex);
        buf_printf(&text, "  - {id: %s, sha256: %s, %s}\n", wanted[i].name, hex, more[i]);
    }
    buf_add_char(&text, '\0');
    keys_text = text.at;
    char *policy = replaced(good_text, "{gold: free}", "{gold: free, lead: free}");
    struct config *c = must_read(policy);
    for (size_t i = 0; i < 5; i++) {
        char key[8];
        snprintf(key, sizeof(key), "k%zu", i);
        const struct api_key *k = config_api_key(c, bytes_str(key), 1);
        assert_non_null(k);
        assert_string_equal(k->id.at, wanted[i].name);
        assert_true(bytes_is(k->client.tier, wanted[i].tier));
        assert_int_equal(k->not_after_s, wanted[i].not_after_s);
    }
    config_unref(c);
    free(policy);
    buf_free(&text);
}

/* A new key is handed out before the old one ends: both are one client. */
static void test_two_keys_of_one_client(void **state) {
    (void)state;
    char *text = replaced(hashed, "id: bob, ", "id: alice, tier: gold, ");
    keys_text = text;
    struct config *c = must_read(good_text);
    const struct api_key *one = config_api_key(c, BYTES_LITERAL("alice-has-a-long-key"), 1);
    const struct api_key *two = config_api_key(c, BYTES_LITERAL("bob-has-one-that-ended"), 1);
    assert_true(one != NULL && two != NULL && one != two);
    assert_true(bytes_eq(one->client.pseudonym, two->client.pseudonym));
    assert_true(bytes_eq(one->client.key, two->client.key));
    assert_null(config_api_key(c, BYTES_LITERAL("bob-has-one-that-ended"), 1583020800));
    config_unref(c);
    free(text);
}

static void test_many_keys(void **state) {
    struct buf text;
    (void)state;
    buf_init(&text, MIB(2));
    buf_add_str(&text, "keys:\n");
    for (int i = 0; i < 5000; i++) {
        char key[40], hex[SHA256_HEX];
        snprintf(key, sizeof(key), "key-number-%d", i);
        hash_hex(key, hex);
        buf_printf(&text, "  - {id: c%d, sha256: %s}\n", i, hex);
    }
    buf_add_char(&text, '\0');
    keys_text = text.at;
    struct config *c = must_read(good_text);
    for (int i = 0; i < 5000; i++) {
        char key[40], id[40];
        snprintf(key, sizeof(key), "key-number-%d", i);
        snprintf(id, sizeof(id), "c%d", i);
        const struct api_key *k = config_api_key(c, bytes_str(key), 1);
        assert_non_null(k);
        assert_string_equal(k->id.at, id);
    }
    assert_null(config_api_key(c, BYTES_LITERAL("key-number-5000"), 1));
    config_unref(c);
    buf_free(&text);
}

#define A64     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B64     "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define NOTHING "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static const struct {
    const char *keys;
    const char *error; /* LINE:COL: the beginning of the message */
    const char *hint;
} bad[] = {
    {"", "1:1: error: the file is empty", NULL},
    {"kees: []\n", "1:1: error: unknown option '...'", "did you mean 'keys'?"},
    {"kees: []\n", "1:1: error: missing option 'keys'", NULL},
    {"keys: {}\n", "1:7: error: keys: expected a list, not a map", NULL},
    {"keys: [a]\n", "1:8: error: keys[0]: expected a map of options, not text", NULL},
    {"keys: [{id: a}]\n", "1:8: error: missing option 'sha256' in keys[0]", NULL},
    {"keys: [{sha256: " A64 "}]\n", "1:8: error: missing option 'id' in keys[0]", NULL},
    {"keys: [{id: a, sha256: abc}]\n", "1:24: error: sha256: expected 64 hexadecimal digits, not 3",
     "querygate hash-key prints it"},
    {"keys: [{id: a, sha256: " NOTHING "}]\n", "1:24: error: sha256: this is the hash of no key",
     NULL},
    {"keys:\n- {id: a, sha256: " A64 ", tier: gold}\n- {id: a, sha256: " B64 "}\n",
     "3:8: error: another tier for this client than in line 2", NULL},
    {"keys: [{id: a, sha256: " A64 ", group: labs}]\ngroups: {lab: {tier: gold}}\n",
     "1:97: error: there is no group 'labs'", "did you mean 'lab'?"},
    {"keys: [{id: a, sha256: " A64 ", group: lab}]\n", "1:97: error: there is no group 'lab'",
     NULL},
    {"keys: []\ngroups: {lab: {tier: glod}}\n",
     "2:22: error: no model has a policy for tier 'glod'", "did you mean 'gold'?"},
    {"keys: []\ngroups: {lab: {not_after: 2027-1-1}}\n", "2:27: error: not_after: expected a day",
     NULL},
    {"keys: []\ngroups: {lab: {teir: gold}}\n", "2:16: error: unknown option '...'",
     "did you mean 'tier'?"},
    {"keys:\n- {id: a, sha256: " A64 "}\n- {id: b, sha256: " A64 "}\n",
     "3:19: error: the same key as in line 2", NULL},
    {"keys: [{id: a, sha256: " A64 ", tier: glod}]\n",
     "1:96: error: no model has a policy for tier", "did you mean 'gold'?"},
    {"keys: [{id: a, sha256: " A64 ", not_after: soon}]\n",
     "1:101: error: not_after: expected a day", NULL},
    {"keys: [{id: a, sha256: " A64 ", not_after: 2023-02-29}]\n",
     "1:101: error: not_after: expected a day as YYYY-MM-DD, not '2023-02-29'", NULL},
    {"keys: [{id: a, sha256: " A64 ", not_after: 2023-13-01}]\n", "1:101: error: not_after:", NULL},
    {"keys: [{id: a, sha256: " A64 ", not_after: 1969-12-31}]\n", "1:101: error: not_after:", NULL},
    {"keys: [{id: a, sha256: " A64 ", key: x}]\n", "1:90: error: unknown option '...' in keys[0]",
     NULL},
    {"keys: [{id: " A64 B64 "x, sha256: " B64 "}]\n", "1:13: error: id: more than 128 bytes", NULL},
};

static void test_bad_key_lists(void **state) {
    unsigned wrong = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf errors;
        char expected[300];
        keys_text = bad[i].keys;
        snprintf(expected, sizeof(expected), "/etc/q/keys.yaml:%s", bad[i].error);
        struct config *c = read_text(good_text, &errors);
        if (c != NULL || strstr(errors.at, expected) == NULL ||
            (bad[i].hint != NULL && strstr(errors.at, bad[i].hint) == NULL)) {
            print_error("row %zu: expected %s, got\n%s", i, expected, errors.at);
            wrong++;
        }
        config_unref(c);
        buf_free(&errors);
    }
    assert_int_equal(wrong, 0);
}

/* A reload's errors go into the log, and the list says who clients are; somebody may even have put
 * a key where its hash belongs. */
static void test_errors_tell_nothing_of_the_list(void **state) {
    static const char *const lists[] = {
        "keys: [{id: marker, sha256: marker}]\n",
        "keys: [{id: marker, sha256: " A64 "\n",
        "keys: [{marker: {sha256: " A64 "}}]\n",
        "keys: [{id: a, sha256: " A64 ", marker: 1, marker: 2}]\n",
        "keys: {marker: marker}\n",
        "keys: [{id: marker, sha256: " A64 "}, {id: b, sha256: " A64 "}]\n",
        "keys:\n- {id: marker, sha256: " A64 ", tier: gold}\n- {id: marker, sha256: " B64 "}\n",
        "keys: [marker]\n",
        "marker\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        struct buf errors;
        keys_text = lists[i];
        assert_null(read_text(good_text, &errors));
        assert_non_null(strstr(errors.at, "/etc/q/keys.yaml:"));
        if (strstr(errors.at, "marker") != NULL || strstr(errors.at, "aaaa") != NULL)
            fail_msg("row %zu: %s", i, errors.at);
        buf_free(&errors);
    }
}

static void test_an_empty_list_is_allowed(void **state) {
    (void)state;
    keys_text = "keys: []\n";
    struct config *c = must_read(good_text);
    assert_int_equal(c->clients.key_count, 0);
    assert_null(config_api_key(c, BYTES_LITERAL("alice-has-a-long-key"), 1));
    config_unref(c);
}

static void test_tiers_must_be_somebodys(void **state) {
    struct buf errors;
    (void)state;
    char *text = replaced(good_text, ", tiers: {gold: free}", "");
    assert_null(read_text(text, &errors));
    assert_non_null(strstr(errors.at, "keys.yaml:2:"));
    assert_non_null(strstr(errors.at, "no model has a policy for tier 'gold'"));
    buf_free(&errors);
    free(text);
}

static void test_pseudonyms(void **state) {
    char name[PSEUDONYM_MAX], other[PSEUDONYM_MAX];
    (void)state;
    struct config *c = must_read(good_text);
    /* printf %s key:alice | openssl dgst -sha256 -hmac 0123456789abcdef */
    config_pseudonym(c, "key", BYTES_LITERAL("alice"), name);
    assert_string_equal(name, "k7:7e59d1724cf25a6b");
    config_pseudonym(c, "address", BYTES_LITERAL("alice"), other);
    assert_string_not_equal(name, other);
    for (uint32_t i = 0; i < c->clients.key_count; i++)
        if (bytes_is(c->clients.keys[i].id, "alice"))
            assert_string_equal(c->clients.keys[i].client.pseudonym.at, name);
    config_unref(c);
}

static void test_without_a_key_file_the_process_has_one(void **state) {
    char first[PSEUDONYM_MAX], again[PSEUDONYM_MAX];
    (void)state;
    char *text = replaced(good_text, "  pseudonym_key: {file: p.key, version: 7}\n", "");
    struct config *a = must_read(text), *b = must_read(text);
    config_pseudonym(a, "key", BYTES_LITERAL("alice"), first);
    config_pseudonym(b, "key", BYTES_LITERAL("alice"), again);
    assert_true(strncmp(first, "k0:", 3) == 0);
    assert_string_equal(first, again);
    config_unref(a);
    config_unref(b);
    free(text);
}

static void test_pseudonym_key_files(void **state) {
    static const struct {
        const char *text, *says; /* NULL: good */
    } rows[] = {
        {"0123456789abcde\n", "holds 15 bytes: expected 16 to 64"},
        {"0123456789abcdef", NULL},
        {"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n", NULL},
        {"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdefg", "holds 65 bytes"},
        {"", "holds 0 bytes"},
        {NULL, "No such file"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf errors;
        pseudonym_text = rows[i].text;
        struct config *c = read_text(good_text, &errors);
        assert_int_equal(c != NULL, rows[i].says == NULL);
        if (rows[i].says != NULL)
            assert_non_null(strstr(errors.at, rows[i].says));
        config_unref(c);
        buf_free(&errors);
    }
}

static void test_a_readable_secret_is_refused(void **state) {
    struct buf errors;
    (void)state;
    unsafe_path = "/etc/q/p.key";
    assert_null(read_text(good_text, &errors));
    assert_non_null(strstr(errors.at,
                           "policy.yaml:13:25: error: cannot use '/etc/q/p.key': it is a "
                           "secret that others may read (mode 0644): chmod 600"));
    buf_free(&errors);
}

/* good_text, with clients asked for certificates and this for clients.mtls; the caller frees. */
static char *with_mtls(const char *mtls) {
    char section[300];
    snprintf(section, sizeof(section), "[mtls, api_key, address]\n  mtls: %s\n", mtls);
    char *one = replaced(good_text, "key: k.pem", "key: k.pem, client_ca: ca.pem");
    char *two = replaced(one, "[api_key, address]\n", section);
    free(one);
    return two;
}

static void test_mtls(void **state) {
    (void)state;
    char *text = with_mtls("{name: san_dns, match: [a, \"b*\"], tier: {field: name, values: "
                           "{a: gold, \"b*\": gold}}}");
    struct config *c = must_read(text);
    const struct mtls_conf *m = c->clients.mtls;
    assert_int_equal(c->clients.order[0], BY_MTLS);
    assert_true(m->name == TLS_SAN_DNS && m->tier_by == TLS_SAN_DNS);
    assert_true(m->match_count == 2 && bytes_is(m->match[1], "b*"));
    assert_true(m->tier_count == 2 && bytes_is(m->tiers[0].value, "gold"));
    assert_string_equal(c->clients.wanted.at,
                        "a client certificate, an API key or an address is needed");
    config_unref(c);
    free(text);
}

static void test_bad_mtls(void **state) {
    static const struct {
        const char *mtls, *error;
    } rows[] = {
        {"{name: cn, match: [\"a*b\"]}", "11:28: error: '*' stands only at the end, not in 'a*b'"},
        {"{name: cm}", "11:16: error: clients.mtls.name: unknown value"},
        {"{name: san_dns, match: [a.B]}", "11:33: error: write 'a.B' in small letters"},
        {"{name: san_dns, tier: {field: name, values: {A: gold}}}",
         "11:54: error: write 'A' in small letters"},
        {"{name: cn, match: []}", "11:27: error: clients.mtls.match: expected at least 1"},
        {"{match: [a]}", "11:3: error: missing option 'name' in clients.mtls"},
        {"{name: cn, tier: {field: ou, values: {\"*a\": gold}}}",
         "11:47: error: '*' stands only at the end"},
        {"{name: cn, tier: {field: ou, values: {a: glod}}}",
         "11:50: error: no model has a policy for tier 'glod'"},
        {"{name: cn, tier: {field: oh, values: {a: gold}}}",
         "11:34: error: clients.mtls.tier.field: unknown value"},
        {"{name: cn, tier: {field: ou}}", "11:20: error: missing option 'values'"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf errors;
        char *text = with_mtls(rows[i].mtls);
        assert_null(read_text(text, &errors));
        if (strstr(errors.at, rows[i].error) == NULL || strstr(errors.at, "\n1 error") == NULL)
            fail_msg("expected %s, got\n%s", rows[i].error, errors.at);
        buf_free(&errors);
        free(text);
    }
}

static void test_who_may_ask(void **state) {
    (void)state;
    struct config *c = must_read(good_text);
    assert_int_equal(c->clients.order_count, 2);
    assert_int_equal(c->clients.order[0], BY_API_KEY);
    assert_int_equal(c->clients.order[1], BY_ADDRESS);
    assert_true(c->clients.anonymous);
    assert_string_equal(c->clients.key_header.at, "X-Key");
    config_unref(c);
    char *one = replaced(good_text, "[api_key, address]", "[api_key]");
    char *text = replaced(one, "  anonymous: allow\n", "");
    c = must_read(text);
    assert_true(clients_by(&c->clients, BY_API_KEY) && !clients_by(&c->clients, BY_ADDRESS));
    assert_false(c->clients.anonymous);
    assert_string_equal(c->clients.wanted.at, "an API key is needed");
    config_unref(c);
    free(one);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_keys_are_found_by_their_hash, reset),
        cmocka_unit_test_setup(test_a_key_ends_with_its_day, reset),
        cmocka_unit_test_setup(test_groups, reset),
        cmocka_unit_test_setup(test_two_keys_of_one_client, reset),
        cmocka_unit_test_setup(test_many_keys, reset),
        cmocka_unit_test_setup(test_bad_key_lists, reset),
        cmocka_unit_test_setup(test_errors_tell_nothing_of_the_list, reset),
        cmocka_unit_test_setup(test_an_empty_list_is_allowed, reset),
        cmocka_unit_test_setup(test_tiers_must_be_somebodys, reset),
        cmocka_unit_test_setup(test_pseudonyms, reset),
        cmocka_unit_test_setup(test_without_a_key_file_the_process_has_one, reset),
        cmocka_unit_test_setup(test_pseudonym_key_files, reset),
        cmocka_unit_test_setup(test_a_readable_secret_is_refused, reset),
        cmocka_unit_test_setup(test_mtls, reset),
        cmocka_unit_test_setup(test_bad_mtls, reset),
        cmocka_unit_test_setup(test_who_may_ask, reset),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(hashed);
    return failed;
}
