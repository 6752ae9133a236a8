/* The reader: what RFC 8259 allows and nothing else, wherever the text lies. */
#include "../../proto/json.c"

#include "jansson_oracle.h"
#include "json_documents.h"
#include "json_harness.h"

static struct arena *arena;

/* Reads text as one document, over each filling; all must agree. */
static enum json_failure verdict(struct bytes text) {
    struct json_reader r;
    enum json_failure first = JSON_FINE;
    for (size_t i = 0; i < sizeof(fillings); i++) {
        struct bytes at = guarded(text, fillings[i]);
        arena_reset(arena);
        assert_true(json_start(&r, arena, at));
        bool fine = json_skip(&r, NULL) && json_end(&r);
        assert_int_equal(fine, r.failure == JSON_FINE);
        assert_true(fine || (r.error != NULL && r.error_offset <= text.len));
        if (i > 0)
            assert_int_equal(r.failure, first);
        first = r.failure;
    }
    return first;
}

static void good_documents_are_read(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (verdict(bytes_of(good[i].text, good[i].len)) != JSON_FINE)
            fail_msg("%s", good[i].text);
}

static void bad_documents_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        enum json_failure got = verdict(bytes_of(bad[i].text, bad[i].len));
        if (got != bad[i].want)
            fail_msg("%s: %d, want %d", bad[i].text, got, bad[i].want);
    }
}

/* A number alone may be whole before its text is: those prefixes that are documents are known. */
static void prefixes_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        const char *first = good[i].text + strspn(good[i].text, " \t\r\n");
        size_t whole = good[i].len;
        while (whole > 0 && strchr(" \t\r\n", good[i].text[whole - 1]) != NULL)
            whole--;
        if (json_type_of(*first) == JSON_NUMBER)
            continue;
        for (size_t n = 0; n < whole; n++)
            if (verdict(bytes_of(good[i].text, n)) == JSON_FINE)
                fail_msg("%.*s", (int)n, good[i].text);
    }
}

static void limits_hold(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, MIB(1));
    for (int extra = 0; extra < 2; extra++) {
        buf_clear(&b);
        for (int i = 0; i < JSON_KEYS_MAX + extra; i++)
            buf_printf(&b, "%c\"k%d\":%d", i == 0 ? '{' : ',', i, i);
        buf_add_char(&b, '}');
        assert_int_equal(verdict(buf_bytes(&b)), extra ? JSON_LIMIT : JSON_FINE);
        buf_clear(&b);
        buf_printf(&b, "[\"%0*d\"]", (int)JSON_STRING_MAX + extra, 0);
        assert_int_equal(verdict(buf_bytes(&b)), extra ? JSON_LIMIT : JSON_FINE);
    }
    buf_clear(&b);
    for (int i = 0; i < JSON_KEYS_MAX; i++)
        buf_printf(&b, "%c\"k%d\":%d", i == 0 ? '{' : ',', i < 255 ? i : 17, i);
    buf_add_char(&b, '}');
    assert_int_equal(verdict(buf_bytes(&b)), JSON_DUPLICATE_KEY);
    buf_free(&b);
}

static void values_are_read_as_asked(void **state) {
    (void)state;
    static const char text[] = " {\"n\" : 18446744073709551615 , \"d\":-2.5e-1, \"t\":true,"
                               "\"f\":false,\"z\":null,\"s\":\"a\\u00e9\\ud83d\\ude00\\n\","
                               "\"skip\": [1, {\"a\":\"]\"}] ,\"a\":[1,2,3]} ";
    struct json_reader r;
    struct bytes key, s;
    uint64_t n, sum = 0;
    double d;
    bool t;
    arena_reset(arena);
    assert_true(json_start(&r, arena, guarded(bytes_str(text), '9')));
    assert_true(json_peek(&r) == JSON_OBJECT && json_enter_object(&r));
    assert_true(json_key(&r, &key) && bytes_is(key, "n") && json_read_u64(&r, &n) &&
                n == UINT64_MAX);
    assert_true(json_key(&r, &key) && bytes_is(key, "d") && json_read_double(&r, &d) && d == -0.25);
    assert_true(json_key(&r, &key) && json_peek(&r) == JSON_BOOL && json_read_bool(&r, &t) && t);
    assert_true(json_key(&r, &key) && json_read_bool(&r, &t) && !t);
    assert_true(json_key(&r, &key) && json_peek(&r) == JSON_NULL && json_read_null(&r));
    assert_true(json_key(&r, &key) && json_read_string(&r, &s) &&
                bytes_is(s, "a\xc3\xa9\xf0\x9f\x98\x80\n"));
    assert_true(json_key(&r, &key) && json_skip(&r, &s) && bytes_is(s, "[1, {\"a\":\"]\"}]"));
    assert_true(json_key(&r, &key) && json_enter_array(&r));
    while (json_element(&r)) {
        assert_true(json_read_u64(&r, &n));
        sum = sum * 10 + n;
    }
    assert_int_equal(sum, 123);
    assert_false(json_key(&r, &key));
    assert_true(json_end(&r) && r.failure == JSON_FINE);
    assert_int_equal(json_peek(&r), JSON_BAD);
    assert_int_equal(r.failure, JSON_FINE);
}

static bool ask(struct json_reader *r, enum json_type type, const char *text) {
    uint64_t n;
    bool t;
    struct bytes s;
    arena_reset(arena);
    assert_true(json_start(r, arena, guarded(bytes_str(text), '\0')));
    switch (type) {
    case JSON_NULL:
        return json_read_null(r);
    case JSON_BOOL:
        return json_read_bool(r, &t);
    case JSON_NUMBER:
        return json_read_u64(r, &n);
    case JSON_STRING:
        return json_read_string(r, &s);
    case JSON_ARRAY:
        return json_enter_array(r);
    default:
        return json_enter_object(r);
    }
}

static void other_types_are_refused(void **state) {
    (void)state;
    static const struct {
        enum json_type type;
        const char *text;
    } rows[] = {{JSON_NULL, "null"},   {JSON_BOOL, "true"}, {JSON_NUMBER, "1"},
                {JSON_STRING, "\"\""}, {JSON_ARRAY, "[]"},  {JSON_OBJECT, "{}"}};
    struct json_reader r;
    double d;
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < 6; k++) {
            assert_int_equal(ask(&r, rows[i].type, rows[k].text), i == k);
            assert_int_equal(r.failure, i == k ? JSON_FINE : JSON_TYPE);
        }
    static const char *const not_digits[] = {"-1", "1.0", "1e0", "-0"};
    for (int i = 0; i < 4; i++)
        assert_true(!ask(&r, JSON_NUMBER, not_digits[i]) && r.failure == JSON_TYPE);
    assert_true(!ask(&r, JSON_NUMBER, "18446744073709551616") && r.failure == JSON_RANGE);
    /* The first error stays; everything after it fails. */
    assert_false(json_read_double(&r, &d) || json_skip(&r, NULL) || json_end(&r));
    assert_true(r.failure == JSON_RANGE && r.error_offset == 0);
}

static void random_value(struct buf *b, int depth) {
    static const char *const leaves[] = {"null",
                                         "true",
                                         "false",
                                         "0",
                                         "-1.5",
                                         "12e-3",
                                         "\"\"",
                                         "\"a\\u00e9\"",
                                         "\"\xe2\x82\xac\"",
                                         "1e5",
                                         "[]",
                                         "{}",
                                         "0.84018772840499878",
                                         "\"\\ud83d\\ude00\"",
                                         "-0"};
    uint64_t kind = depth > 0 ? below(4) : 0, n = below(5);
    if (kind < 2) {
        buf_add_str(b, leaves[below(sizeof(leaves) / sizeof(leaves[0]))]);
        return;
    }
    buf_add_char(b, kind == 2 ? '[' : '{');
    for (uint64_t i = 0; i < n; i++) {
        buf_add_str(b, i > 0 ? ", " : below(2) ? " " : "");
        if (kind == 3)
            buf_printf(b, below(3) > 0 ? "\"%c\":" : "\"\\u00%x\" :", 'a' + (int)below(8));
        random_value(b, depth - 1);
    }
    buf_add_char(b, kind == 2 ? ']' : '}');
}

static void damage(struct buf *b) {
    static const char bytes[] = "\"\\[]{},:0123456789.eE+-tfn u\n\x80\xc3\xa9";
    for (uint64_t i = below(3); i > 0 && b->len > 0; i--)
        b->at[below(b->len)] = bytes[below(sizeof(bytes) - 1)]; /* jansson skips some NULs */
    if (below(4) == 0)
        b->len = below(b->len + 1);
}

static void random_documents_match_jansson(void **state) {
    (void)state;
    struct buf b;
    int accepted = 0;
    buf_init(&b, MIB(1));
    for (int i = 0; i < 40000; i++) {
        buf_clear(&b);
        random_value(&b, 4);
        damage(&b);
        struct bytes text = guarded(buf_bytes(&b), fillings[below(sizeof(fillings))]);
        json_t *want = json_loadb(text.at, text.len, JANSSON_STRICT, NULL);
        struct json_reader r;
        arena_reset(arena);
        assert_true(json_start(&r, arena, text));
        bool fine = json_skip(&r, NULL) && json_end(&r);
        if (fine != (want != NULL))
            fail_msg("%.*s: %s", (int)text.len, text.at, r.error);
        if (fine) {
            assert_true(json_start(&r, arena, text));
            assert_true(same_as_jansson(&r, want));
            assert_true(json_end(&r));
            accepted++;
        }
        json_decref(want);
    }
    assert_true(accepted > 4000 && accepted < 36000);
    buf_free(&b);
}

/* Whatever is repeated to 8 MiB is read or refused in time that grows no faster than the text. */
static void floods_take_linear_time(void **state) {
    (void)state;
    static const char *const units[] = {
        "[",
        "{\"a\":",
        "[],",
        "\"a\",",
        "{\"a\":1,\"b\":2},",
        "1,",
        "\"\\u0061\",",
        "   ",
        "[[1],",
        "[[[[[[[[[[[[[[]]]]]]]]]]]]]],",
        "1111111111111111,",
        "\xe2\x82\xac",
        "4.9406564584124654e-324,",
        "{\"\\u0061\":1},",
    };
    struct buf b;
    struct json_reader r;
    buf_init(&b, MIB(9));
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        buf_clear(&b);
        buf_add_char(&b, '[');
        while (b.len < MIB(8) - 64)
            buf_add_str(&b, units[i]);
        arena_reset(arena);
        assert_true(json_start(&r, arena, guarded(buf_bytes(&b), '\0')));
        double start = seconds_used();
        assert_false(json_skip(&r, NULL) && json_end(&r));
        if (seconds_used() - start > 8)
            fail_msg("%s: %f s", units[i], seconds_used() - start);
        assert_true(arena_used(arena) < 4 * b.len);
    }
    buf_free(&b);
}

static void memory_may_run_out(void **state) {
    (void)state;
    static const char text[] = "{\"a\\n\":\"b\\n\",\"c\":{\"d\":1}}";
    for (size_t cap = 0; cap < 4096; cap += 16) {
        struct arena *small = arena_new(cap);
        struct json_reader r;
        struct bytes key, s;
        bool started = json_start(&r, small, guarded(bytes_str(text), '\0'));
        bool fine = started && json_enter_object(&r) && json_key(&r, &key) &&
                    json_read_string(&r, &s) && json_key(&r, &key) && json_skip(&r, NULL) &&
                    !json_key(&r, &key) && json_end(&r);
        assert_int_equal(r.failure, fine ? JSON_FINE : JSON_NO_MEMORY);
        assert_true(fine || cap < 2048);
        arena_free(small);
    }
}

static int make_arena(void **state) {
    (void)state;
    arena = arena_new(ARENA_BYTES_MAX);
    return arena == NULL ? -1 : 0;
}

static int free_arena(void **state) {
    (void)state;
    arena_free(arena);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_documents_are_read),
        cmocka_unit_test(bad_documents_are_refused),
        cmocka_unit_test(prefixes_are_refused),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(values_are_read_as_asked),
        cmocka_unit_test(other_types_are_refused),
        cmocka_unit_test(random_documents_match_jansson),
        cmocka_unit_test(floods_take_linear_time),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, make_arena, free_arena);
}
