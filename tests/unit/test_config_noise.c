#include "../../proxy/config_noise.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "../../proxy/randomness.h"
#include "config_harness.h"

/* Files of the harness: p.key holds pseudonym_text, every other name the three bytes `pem`. */
static char *with_key(const char *section) {
    char text[400];
    snprintf(text, sizeof(text), "%supstreams:\n", section);
    return replaced(good_text, "upstreams:\n", text);
}

static void test_a_key_from_a_file(void **state) {
    (void)state;
    char *text = with_key("noise_key: {file: p.key}\n");
    struct config *c = must_read(text);
    assert_true(c->noise.lasting);
    assert_int_equal(c->noise.key_len, 16); /* without the newline */
    assert_memory_equal(c->noise.key, "0123456789abcdef", 16);
    assert_int_equal(c->noise.previous_len, 0);
    config_unref(c);
    free(text);
}

static void test_without_a_file_it_is_the_process_own(void **state) {
    (void)state;
    struct config *c = must_read(good_text), *again = must_read(good_text);
    static const unsigned char zeros[SHA256_BYTES];
    unsigned char pseudonyms[SHA256_BYTES];
    config_process_key(pseudonyms);
    assert_false(c->noise.lasting);
    assert_int_equal(c->noise.key_len, SHA256_BYTES);
    assert_memory_not_equal(c->noise.key, zeros, SHA256_BYTES);
    assert_memory_not_equal(c->noise.key, pseudonyms, SHA256_BYTES);
    assert_memory_equal(c->noise.key, again->noise.key, SHA256_BYTES); /* across reloads */
    config_unref(c);
    config_unref(again);
}

/* The key that a gate draws with at now_s. */
static struct bytes key_at(struct random_place *place, const struct config *c, uint64_t now_s,
                           struct exchange_random *e) {
    random_begin(e, place, &c->noise, now_s);
    return e->source.key;
}

static void test_the_key_before_it_is_used_until_the_day(void **state) {
    (void)state;
    char *text = with_key("noise_key: {file: p.key, previous: p.key, since: 2026-03-01}\n");
    struct config *c = must_read(text);
    struct exchange_random e;
    struct random_place place;
    assert_true(random_open(&place));
    assert_int_equal(c->noise.since_s, 1772323200);
    assert_int_equal(c->noise.previous_len, 16);
    c->noise.previous[0] = 'x';
    assert_int_equal(key_at(&place, c, 1772323199, &e).at[0], 'x');
    assert_int_equal(key_at(&place, c, 1772323200, &e).at[0], '0');
    c->noise.previous_len = 0;
    assert_int_equal(key_at(&place, c, 1, &e).at[0], '0');
    assert_true(e.view.fresh == place.fresh && e.view.pools == &place.pools);
    random_close(&place);
    config_unref(c);
    free(text);
}

static void test_what_is_wrong_is_said(void **state) {
    static const struct {
        const char *section, *error;
    } table[] = {
        {"noise_key: {}\n", "file"},
        {"noise_key: {file: missing.key}\n", "cannot use '/etc/q/missing.key'"},
        {"noise_key: {file: short.key}\n", "holds 3 bytes: expected 16 to 64"},
        {"noise_key: {file: p.key, previous: p.key}\n", "'previous' and 'since' go together"},
        {"noise_key: {file: p.key, since: 2026-01-01}\n", "'previous' and 'since' go together"},
        {"noise_key: {file: p.key, previous: short.key, since: 2026-01-01}\n", "holds 3 bytes"},
        {"noise_key: {file: p.key, previous: p.key, since: tomorrow}\n", "a day as YYYY-MM-DD"},
        {"noise_key: {file: p.key, previous: p.key, since: 2026-02-31}\n", "a day as YYYY-MM-DD"},
        {"noise_key: {file: p.key, previous: p.key, since: 2026-1-1}\n", "a day as YYYY-MM-DD"},
        {"noise_key: {file: p.key, sinse: 2026-1-1}\n", "did you mean 'since'"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct buf errors;
        char *text = with_key(table[i].section);
        struct config *c = read_text(text, &errors);
        assert_null(c);
        if (strstr(errors.at, table[i].error) == NULL)
            fail_msg("row %u: %s", (unsigned)i, errors.at);
        buf_free(&errors);
        free(text);
    }
    (void)reset(state);
    unsafe_path = "/etc/q/n.key";
    struct buf errors;
    char *text = with_key("noise_key: {file: n.key}\n");
    assert_null(read_text(text, &errors));
    assert_non_null(strstr(errors.at, "others may read"));
    buf_free(&errors);
    free(text);
}

/* Every answer would be refused, so the file is. */
static void test_logits_need_what_bounds_them(void **state) {
    static const struct {
        const char *filter, *error; /* NULL: none */
    } table[] = {
        {"noise: {epsilon: 1}", "logits have no bounds, so 'epsilon' needs a 'range'"},
        {"noise: {epsilon: 1, range: {low: -9, high: 9}}", NULL},
        {"noise: {scale: 1}", NULL},
        {"randomize: {epsilon: 1, mechanism: permute_and_flip}", "so permute_and_flip needs a"},
        {"randomize: {epsilon: 1, mechanism: exponential}", "so exponential needs a 'range'"},
        {"randomize: {epsilon: 1}", NULL},
        {"mask: {method: model_guard, distance: 1}", "logits cannot be masked"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct buf errors;
        char *logits = replaced(good_text, "{probabilities: scores, label: labels}", "{o: logits}");
        char *text = replaced(logits, "round: {digits: 3}", table[i].filter);
        char *alone = replaced(text, "      - top_k:\n", "");
        struct config *c = read_text(alone, &errors);
        buf_add_char(&errors, '\0');
        if ((c != NULL) != (table[i].error == NULL) ||
            (c == NULL && strstr(errors.at, table[i].error) == NULL))
            fail_msg("row %u: %s", (unsigned)i, errors.at);
        config_unref(c);
        buf_free(&errors);
        free(alone);
        free(text);
        free(logits);
    }
}

#define TEST(f) cmocka_unit_test_setup(f, reset)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_key_from_a_file),
        TEST(test_without_a_file_it_is_the_process_own),
        TEST(test_the_key_before_it_is_used_until_the_day),
        TEST(test_what_is_wrong_is_said),
        TEST(test_logits_need_what_bounds_them),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(hashed);
    return failed;
}
