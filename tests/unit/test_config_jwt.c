/* clients.jwt: what is read, and every error at its place. */
#include "../../proxy/config_jwt.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "config_harness.h"

#define ED                                                                                         \
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"

/* good_text with tokens beside keys; the section's options stand in line 11. */
static char *with_jwt(const char *options) {
    char section[600];
    snprintf(section, sizeof(section), "  jwt: {%s}\n  api_keys:", options);
    char *identify = replaced(good_text, "[api_key, address]", "[jwt, api_key, address]");
    char *out = replaced(identify, "  api_keys:", section);
    free(identify);
    return out;
}

static int reset_all(void **state) {
    jwks_json = "{\"keys\":[" ED "]}";
    return reset(state);
}

static struct config *read_jwt(const char *options) {
    char *text = with_jwt(options);
    struct config *c = must_read(text);
    free(text);
    return c;
}

#define NEEDED "jwks: jwks.json, issuer: \"https://i.example\", audience: gate"

static void test_defaults(void **state) {
    (void)state;
    struct config *c = read_jwt(NEEDED);
    const struct jwt_conf *conf = c->clients.jwt;
    assert_string_equal(conf->header.at, "Authorization");
    assert_true(conf->bearer);
    assert_true(conf->algorithms[0] && conf->algorithms[1] && conf->algorithms[2]);
    assert_string_equal(conf->issuer.at, "https://i.example");
    assert_string_equal(conf->audience.at, "gate");
    assert_string_equal(conf->subject.at, "sub");
    assert_int_equal(conf->leeway_s, 30);
    assert_int_equal(conf->max_age_s, 0);
    assert_int_equal(conf->tier_claim.len, 0);
    assert_int_equal(conf->key_count, 1);
    assert_true(clients_by(&c->clients, BY_JWT));
    config_unref(c);
}

static void test_explain_cannot_know_a_subject(void **state) {
    (void)state;
    struct buf out;
    struct config *c = read_jwt(NEEDED);
    buf_init(&out, KIB(64));
    assert_false(config_explain(c, bytes_str("carol"), bytes_str("digits"), &out));
    buf_add_char(&out, '\0');
    assert_non_null(strstr(out.at, "no client 'carol'"));
    assert_non_null(strstr(out.at, "a token or a certificate is not in the file"));
    buf_free(&out);
    config_unref(c);
}

static void test_all_options(void **state) {
    (void)state;
    struct config *c = read_jwt(NEEDED ", header: x-token, algorithms: [ES256, EdDSA], "
                                       "subject: azp, leeway: 0s, max_age: 90min, "
                                       "tier: {claim: plan, values: {a: gold, \"b c\": gold}}");
    const struct jwt_conf *conf = c->clients.jwt;
    assert_false(conf->bearer);
    assert_false(conf->algorithms[SIGN_RS256]);
    assert_true(conf->algorithms[SIGN_ES256] && conf->algorithms[SIGN_EDDSA]);
    assert_string_equal(conf->subject.at, "azp");
    assert_int_equal(conf->leeway_s, 0);
    assert_int_equal(conf->max_age_s, 5400);
    assert_string_equal(conf->tier_claim.at, "plan");
    assert_int_equal(conf->tier_count, 2);
    assert_true(bytes_is(conf->tiers[1].value, "b c") && bytes_is(conf->tiers[1].tier, "gold"));
    config_unref(c);
}

static void test_tiers_without_values(void **state) {
    (void)state;
    struct config *c = read_jwt(NEEDED ", tier: {claim: plan}");
    const struct jwt_conf *conf = c->clients.jwt;
    assert_int_equal(conf->tier_count, 1);
    assert_true(bytes_is(conf->tiers[0].value, "gold") && bytes_is(conf->tiers[0].tier, "gold"));
    config_unref(c);
}

/* The version of the policy changes with the keys. */
static void test_the_keys_are_part_of_the_version(void **state) {
    (void)state;
    struct config *a = read_jwt(NEEDED);
    jwks_json = "{\"keys\":[" ED "] }";
    struct config *b = read_jwt(NEEDED);
    assert_string_not_equal(a->sha256, b->sha256);
    config_unref(a);
    config_unref(b);
}

static const struct {
    const char *options, *error, *hint; /* error: LINE:COL and the beginning */
} bad[] = {
    {"", "11:3: error: missing option 'jwks' in clients.jwt", NULL},
    {"", "11:3: error: missing option 'issuer' in clients.jwt", NULL},
    {"", "11:3: error: missing option 'audience' in clients.jwt", NULL},
    {NEEDED ", isuer: x", "11:71: error: unknown option 'isuer'", "did you mean 'issuer'?"},
    {NEEDED ", algorithms: [HS256]", "11:84: error: clients.jwt.algorithms[0]", "RS256"},
    {NEEDED ", algorithms: [none]", "11:84: error: clients.jwt.algorithms[0]", "RS256"},
    {NEEDED ", algorithms: []", "11:83: error:", NULL},
    {NEEDED ", algorithms: [ES256, ES256]", "11:91: error: algorithms: 'ES256' is there twice",
     NULL},
    {NEEDED ", leeway: 10min", "11:79: error: clients.jwt.leeway", NULL},
    {NEEDED ", max_age: 0s", "11:80: error: clients.jwt.max_age", NULL},
    {NEEDED ", header: \"a b\"", "11:79: error: expected a header's name", NULL},
    {NEEDED ", header: x-KEY", "11:79: error: 'x-KEY' carries API keys", NULL},
    {NEEDED ", tier: {claim: p, values: {a: glod}}", "11:", "did you mean 'gold'?"},
    {NEEDED ", tier: {claim: p, values: {a: glod}}", "no model has a policy for tier 'glod'", NULL},
    {NEEDED ", tier: {values: {a: gold}}", "missing option 'claim' in clients.jwt.tier", NULL},
    {"jwks: missing.json, issuer: i, audience: a",
     "11:15: error: cannot read '/etc/q/missing.json': No such file", NULL},
};

static unsigned expect_error(const char *text, const char *error, const char *hint) {
    struct buf errors;
    struct config *c = read_text(text, &errors);
    bool wrong = c != NULL || strstr(errors.at, error) == NULL ||
                 (hint != NULL && strstr(errors.at, hint) == NULL);
    if (wrong)
        print_error("expected %s, got\n%s", error, errors.at);
    config_unref(c);
    buf_free(&errors);
    return wrong;
}

static void test_bad_options(void **state) {
    unsigned wrong = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char *text = with_jwt(bad[i].options);
        wrong += expect_error(text, bad[i].error, bad[i].hint);
        free(text);
    }
    assert_int_equal(wrong, 0);
}

static const struct {
    const char *json, *error, *hint;
} keys[] = {
    {"", "11:15: error: '/etc/q/jwks.json': no JSON, line 1, column 0", NULL},
    {"{}", "11:15: error: '/etc/q/jwks.json': it is no JWKS", "{\"keys\": [...]}"},
    {"{\"keys\":[]}", "none of its keys can check a token's signature", "Ed25519"},
    {"{\"keys\":[" ED ",{\"kty\":\"RSA\",\"kid\":\"r1\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}",
     "'/etc/q/jwks.json': key 1 (kid 'r1'): its modulus is shorter than 2048 bits", NULL},
    {"{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}]}", "'k' is a secret part of a key",
     "public keys"},
};

static void test_bad_keys(void **state) {
    unsigned wrong = 0;
    char *text = with_jwt(NEEDED);
    (void)state;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        jwks_json = keys[i].json;
        wrong += expect_error(text, keys[i].error, keys[i].hint);
    }
    free(text);
    assert_int_equal(wrong, 0);
}

static void test_a_file_too_large(void **state) {
    char *json = malloc(JWKS_BYTES_MAX + KIB(8)), *text = with_jwt(NEEDED);
    (void)state;
    assert_non_null(json);
    memset(json, ' ', JWKS_BYTES_MAX + KIB(5));
    strcpy(json + JWKS_BYTES_MAX + KIB(5), "{\"keys\":[" ED "]}");
    jwks_json = json;
    assert_int_equal(expect_error(text, "'/etc/q/jwks.json'", NULL), 0);
    free(json);
    free(text);
}

static void test_the_word_and_the_section(void **state) {
    char *text = with_jwt(NEEDED);
    char *no_word = replaced(text, "[jwt, ", "["), *no_section;
    (void)state;
    no_section = replaced(good_text, "[api_key, address]", "[jwt, api_key, address]");
    unsigned wrong = expect_error(no_word, "error: 'jwt' has no use", "add 'jwt' to 'identify'");
    wrong += expect_error(no_section, "error: 'jwt' needs the option 'jwt'", "jwks.json");
    assert_int_equal(wrong, 0);
    free(text);
    free(no_word);
    free(no_section);
}

/* Models without tiers leave the claim nothing to choose. */
static void test_no_tiers_to_choose(void **state) {
    char *text = with_jwt(NEEDED ", tier: {claim: plan}");
    char *none = replaced(text, ", tiers: {gold: free}", "");
    char *keys_without = replaced(good_keys, ", tier: gold", "");
    char *hashes = keys_with_hashes(keys_without);
    (void)state;
    keys_text = hashes;
    assert_int_equal(expect_error(none, "no model has tiers that the claim could choose", "tiers"),
                     0);
    free(text);
    free(none);
    free(keys_without);
    free(hashes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_defaults, reset_all),
        cmocka_unit_test_setup(test_explain_cannot_know_a_subject, reset_all),
        cmocka_unit_test_setup(test_all_options, reset_all),
        cmocka_unit_test_setup(test_tiers_without_values, reset_all),
        cmocka_unit_test_setup(test_the_keys_are_part_of_the_version, reset_all),
        cmocka_unit_test_setup(test_bad_options, reset_all),
        cmocka_unit_test_setup(test_bad_keys, reset_all),
        cmocka_unit_test_setup(test_a_file_too_large, reset_all),
        cmocka_unit_test_setup(test_the_word_and_the_section, reset_all),
        cmocka_unit_test_setup(test_no_tiers_to_choose, reset_all),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(hashed);
    return failed;
}
