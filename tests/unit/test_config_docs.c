/* What is printed out of the option tables: values, schema, reference, and the words of explain. */
#include "../../proxy/config_print.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <jansson.h>

#include "config_harness.h"

static struct buf printed(const struct config *c) {
    struct buf out;
    buf_init(&out, MIB(1));
    config_print(c, &out);
    buf_add_char(&out, '\0');
    assert_false(out.failed);
    return out;
}

/* ---- Values ---- */

static void test_print_reads_back(void **state) {
    static const char limits[] =
        "limits: {max_body: 1MiB, idle_timeout: 2min, compressed_bodies: false}\n";
    static const char *const drops[] = {
        "workers: 2\n",
        "admin: {address: localhost:9901}\n",
        "log: {access: logs/access.jsonl}\n",
        "  pseudonym_key: {file: p.key, version: 7}\n",
        ", health: {path: /ready, interval: 1s}",
        ", tls: {cert: c.pem, key: k.pem}",
        limits,
    };
    (void)state;
    for (size_t i = 0; i <= sizeof(drops) / sizeof(drops[0]); i++) {
        char *text = i > 0 ? replaced(good_text, drops[i - 1], "") : strdup(good_text);
        struct config *c = must_read(text);
        struct buf first = printed(c);
        config_unref(c);
        c = must_read(first.at);
        struct buf second = printed(c);
        config_unref(c);
        assert_string_equal(first.at, second.at);
        buf_free(&first);
        buf_free(&second);
        free(text);
    }
}

static json_t *at(json_t *root, const char *path) {
    char copy[200], *save = NULL;
    snprintf(copy, sizeof(copy), "%s", path);
    for (char *key = strtok_r(copy, "/", &save); key != NULL; key = strtok_r(NULL, "/", &save)) {
        root = json_is_array(root) ? json_array_get(root, (size_t)atoi(key))
                                   : json_object_get(root, key);
        if (root == NULL)
            fail_msg("no %s in %s", key, path);
    }
    return root;
}

static void test_print_fills_defaults_in(void **state) {
    json_error_t error;
    (void)state;
    struct config *c = must_read(good_text);
    struct buf out = printed(c);
    json_t *root = json_loads(out.at, JSON_REJECT_DUPLICATES, &error);
    assert_non_null(root);
    assert_string_equal(json_string_value(at(root, "limits/head_timeout")), "5s");
    assert_string_equal(json_string_value(at(root, "listeners/0/protocol")), "http");
    assert_string_equal(json_string_value(at(root, "policies/guarded/filters/1/top_k/scores")),
                        "hide");
    assert_int_equal(json_integer_value(at(root, "policies/guarded/filters/0/rate_limit/burst")),
                     12);
    assert_string_equal(json_string_value(at(root, "models/0/tiers/gold")), "free");
    assert_null(json_object_get(at(root, "listeners/0"), "tls"));
    assert_null(strstr(out.at, "0123456789abcdef"));
    assert_null(strstr(out.at, "alice"));
    json_decref(root);
    buf_free(&out);
    config_unref(c);
}

/* ---- Schema ---- */

static void has_every_option(json_t *schema, const struct option *rows, unsigned *count) {
    for (; rows->type != OPTION_END; rows++, (*count)++) {
        json_t *row = at(at(schema, "properties"), rows->name);
        json_t *element = rows->type == OPTION_LIST  ? at(row, "items")
                          : rows->type == OPTION_MAP ? at(row, "additionalProperties")
                                                     : row;
        assert_string_equal(json_string_value(at(row, "description")), rows->says);
        assert_int_equal(rows->fallback != NULL, json_object_get(row, "default") != NULL);
        if (rows->rows != NULL)
            has_every_option(element, rows->rows, count);
    }
}

static void test_schema_has_every_option(void **state) {
    json_error_t error;
    struct buf out;
    unsigned count = 0;
    (void)state;
    buf_init(&out, MIB(1));
    config_schema(&out);
    json_t *schema = json_loadb(out.at, out.len, JSON_REJECT_DUPLICATES, &error);
    assert_non_null(schema);
    assert_string_equal(json_string_value(at(schema, "$schema")),
                        "https://json-schema.org/draft/2020-12/schema");
    has_every_option(schema, config_rows(), &count);
    json_t *filters =
        at(schema, "properties/policies/additionalProperties/properties/filters/items");
    for (const struct filter *const *f = filters_all; *f != NULL; f++)
        has_every_option(at(at(filters, "properties"), (*f)->name), (*f)->options, &count);
    assert_true(count > 60);
    json_decref(schema);
    buf_free(&out);
}

/* Every row of every table, as the engine takes it for granted. */
static void check_rows(const struct option *rows) {
    for (; rows->type != OPTION_END; rows++) {
        struct scalar_error error;
        struct rate value;
        bool collection = rows->type == OPTION_LIST || rows->type == OPTION_MAP;
        assert_non_null(rows->says);
        assert_true(strlen(rows->says) > 3 && rows->says[strlen(rows->says) - 1] != ' ');
        assert_false(rows->required && rows->fallback != NULL);
        assert_int_equal(collection, rows->element_size > 0);
        if (rows->fallback != NULL)
            assert_true(option_parse(rows, bytes_str(rows->fallback), true, &value, &error));
        if (rows->rows != NULL)
            check_rows(rows->rows);
    }
}

static void test_tables_are_sound(void **state) {
    (void)state;
    check_rows(config_rows());
    check_rows(config_key_rows);
    for (const struct filter *const *f = filters_all; *f != NULL; f++)
        check_rows((*f)->options);
}

/* ---- The committed copies ---- */

static void same_as_file(const char *command, const char *path, void (*write)(struct buf *)) {
    struct buf now, file;
    char why[CONFIG_WHY_MAX];
    buf_init(&now, MIB(1));
    buf_init(&file, MIB(1));
    write(&now);
    assert_null(config_system_io.load(path, false, &file, why));
    if (!bytes_eq(buf_bytes(&now), buf_bytes(&file)))
        fail_msg("%s is old: querygate %s >%s", path, command, path);
    buf_free(&now);
    buf_free(&file);
}

static void test_reference_is_committed(void **state) {
    (void)state;
    same_as_file("reference", "deploy/policy-reference.md", config_reference);
}

static void test_schema_is_committed(void **state) {
    (void)state;
    same_as_file("schema", "deploy/policy.schema.json", config_schema);
}

/* ---- Explain ---- */

static void explains(const char *text, const char *client, const char *model, bool known,
                     const char *const *says, const char *never) {
    struct buf out;
    struct config *c = must_read(text);
    buf_init(&out, MIB(1));
    assert_int_equal(config_explain(c, bytes_str(client), bytes_str(model), &out), known);
    buf_add_char(&out, '\0');
    for (const char *at_line = out.at; *says != NULL; says++) {
        at_line = strstr(at_line, *says);
        if (at_line == NULL)
            fail_msg("'%s' is not, or not there, in\n%s", *says, out.at);
    }
    if (never != NULL && strstr(out.at, never) != NULL)
        fail_msg("'%s' is in\n%s", never, out.at);
    buf_free(&out);
    config_unref(c);
}
#define SAYS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_explain_tier(void **state) {
    (void)state;
    explains(
        good_text, "alice", "digits", true,
        SAYS("client  alice: an API key, in logs k7:", ", tier gold\n",
             "model   digits: matched by 'digits', served by upstream 'digits' (open-inference)\n",
             "policy  free: the model's for tier gold, only observed\n",
             "- top_k (/etc/q/policy.yaml:28): ", "\nReleased:\n",
             "- probabilities (scores): as the model says it\n",
             "- label (labels): as the model says it\n", "- the model's version: yes\n",
             "\nRefused, whatever the filters say:\n", "1048576 bytes (413)\n",
             "- compressed bodies (415)\n", "\nWhat this does not do:\n",
             "- observe mode changes nothing that the filters would", "no differential privacy",
             "train", "- nothing limits how often"),
        "address proves nothing");
}

static void test_explain_address(void **state) {
    (void)state;
    explains(good_text, "2001:db8::77", "digits", true,
             SAYS("client  2001:db8::77: an address, in logs k7:",
                  "policy  guarded: the model's own, enforced\n",
                  "- rate_limit (/etc/q/policy.yaml:25): ", "\n  - ", "- top_k (", "- round (",
                  "- probabilities (scores): as the filters leave it\n",
                  "an address proves nothing"),
             "observe mode");
}

static void test_explain_names_of_one_start(void **state) {
    (void)state;
    char *text = replaced(good_text, "  pseudonym_key: {file: p.key, version: 7}\n", "");
    explains(text, "alice", "digits", true,
             SAYS("client  alice: an API key, tier gold\n",
                  "without clients.pseudonym_key the pseudonyms change"),
             "in logs");
    free(text);
}

static void test_explain_relay(void **state) {
    (void)state;
    explains(good_text, "192.0.2.1", "raw-2", true,
             SAYS("matched by 'raw*'", "Filters, in this order:\n- none\n",
                  "- the whole answer: bodies are relayed unread\n",
                  "- relayed bodies are not looked at"),
             "(scores)");
}

static void test_explain_who_is_refused(void **state) {
    (void)state;
    explains(good_text, "bob", "digits", true,
             SAYS("good to the end of 2020-02-29 (UTC)",
                  "Refused: the key has ended; every query is answered 401."),
             "Released");
    char *one = replaced(good_text, "[api_key, address]", "[api_key]");
    char *text = replaced(one, "  anonymous: allow\n", "");
    explains(text, "192.0.2.1", "digits", true,
             SAYS("Refused: clients without an API key are not let in"), "Released");
    free(one);
    free(text);
}

static void test_explain_unknown_names(void **state) {
    (void)state;
    explains(good_text, "alcie", "digits", false,
             SAYS("no client 'alcie'", "hint: did you mean 'alice'?"), NULL);
    explains(good_text, "alice", "digit", false,
             SAYS("no model 'digit': the gate answers 404", "hint: did you mean 'digits'?"), NULL);
}

static void test_peers(void **state) {
    static const char *const rows[][2] = {
        {"192.0.2.1", "192.0.2.1"},
        {"2001:db8::1", "2001:db8::/64"},
        {"2001:db8::/64", "2001:db8::/64"},
        {"::ffff:192.0.2.1", "192.0.2.1"},
        {"192.0.2.1/64", NULL},
        {"192.0.2", NULL},
        {"2001:db8::/48", NULL},
        {"", NULL},
        {"alice", NULL},
        {"1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char peer[CONFIG_PEER_MAX];
        assert_int_equal(config_peer(bytes_str(rows[i][0]), peer), rows[i][1] != NULL);
        if (rows[i][1] != NULL)
            assert_string_equal(peer, rows[i][1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_print_reads_back, reset),
        cmocka_unit_test_setup(test_print_fills_defaults_in, reset),
        cmocka_unit_test_setup(test_schema_has_every_option, reset),
        cmocka_unit_test_setup(test_tables_are_sound, reset),
        cmocka_unit_test_setup(test_reference_is_committed, reset),
        cmocka_unit_test_setup(test_schema_is_committed, reset),
        cmocka_unit_test_setup(test_explain_tier, reset),
        cmocka_unit_test_setup(test_explain_address, reset),
        cmocka_unit_test_setup(test_explain_names_of_one_start, reset),
        cmocka_unit_test_setup(test_explain_relay, reset),
        cmocka_unit_test_setup(test_explain_who_is_refused, reset),
        cmocka_unit_test_setup(test_explain_unknown_names, reset),
        cmocka_unit_test_setup(test_peers, reset),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(hashed);
    return failed;
}
