/* Tensors: each datatype's rules, nesting, limits, and the same numbers however they are laid out.
 */
#include "../../proto/json_tensor.c"

#include <math.h>

#include "json_harness.h"

static struct arena *arena;
static struct json_reader reader;

/* Checking alone must say what reading says: the verdict, the place, the shape. */
static void assert_check_agrees(enum dtype type, struct bytes text, uint64_t most, bool accepted,
                                const struct json_tensor *t) {
    struct json_reader checker;
    struct json_tensor checked;
    assert_true(json_start(&checker, arena, text));
    bool ok = json_tensor_check(&checker, type, most, &checked) && json_end(&checker);
    assert_int_equal(ok, accepted);
    assert_int_equal(checker.failure, reader.failure);
    assert_int_equal(checker.error_offset, reader.error_offset);
    if (!accepted)
        return;
    assert_int_equal(checked.elements, t->elements);
    assert_int_equal(checked.text.len, t->text.len);
    assert_int_equal(checked.nested_rank, t->nested_rank);
    assert_memory_equal(checked.nested_shape, t->nested_shape, sizeof(t->nested_shape));
    if (type == DTYPE_FP32 || type == DTYPE_FP64)
        assert_int_equal(checked.data.len, 0);
    else
        assert_true(bytes_eq(checked.data, t->data));
}

static bool read_tensor(enum dtype type, struct bytes text, char filling, uint64_t most,
                        struct json_tensor *t) {
    arena_reset(arena);
    struct bytes page = guarded(text, filling);
    assert_true(json_start(&reader, arena, page));
    bool ok = json_tensor(&reader, type, most, t) && json_end(&reader);
    assert_check_agrees(type, page, most, ok, t);
    return ok;
}

/* The elements, printed. */
static const char *printed(enum dtype type, const struct json_tensor *t) {
    static struct buf b;
    b.cap = MIB(1);
    buf_clear(&b);
    assert_true(json_write_tensor(&b, type, t->data, t->elements));
    buf_add_char(&b, '\0');
    return b.at;
}

static const char *shape_of(const struct json_tensor *t) {
    static char text[256];
    size_t n = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < t->nested_rank; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%llu", i > 0 ? "," : "",
                              (unsigned long long)t->nested_shape[i]);
    return text;
}

static void good_tensors_are_read(void **state) {
    (void)state;
    static const struct {
        enum dtype type;
        const char *text, *shape, *want;
    } rows[] = {
        {DTYPE_FP32, "[]", "0", "[]"},
        {DTYPE_FP32, "[ ]", "0", "[]"},
        {DTYPE_FP32, "[1]", "1", "[1]"},
        {DTYPE_FP32, "[ 0.5 ,\n-1e2\t, 3.0 ]", "3", "[0.5,-100,3]"},
        {DTYPE_FP32, "[-0.0,0,0.1,16777217]", "4", "[-0.0,0,0.1,16777216]"},
        {DTYPE_FP32, "[3.4028235e38,1e-45,1e-60]", "3", "[3.4028235e38,1e-45,0]"},
        {DTYPE_FP32, "[[1,2,3],[4,5,6]]", "2,3", "[1,2,3,4,5,6]"},
        {DTYPE_FP32, "[ [ 1 , 2 ] , [ 3 , 4 ] ]", "2,2", "[1,2,3,4]"},
        {DTYPE_FP32, "[[[1],[2]],[[3],[4]],[[5],[6]]]", "3,2,1", "[1,2,3,4,5,6]"},
        {DTYPE_FP32, "[[],[]]", "2,0", "[]"},
        {DTYPE_FP32, "[[[]],[[]]]", "2,1,0", "[]"},
        {DTYPE_FP32, "[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]", "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", "[1]"},
        {DTYPE_FP64, "[0.1,1e308,5e-324,-2.5]", "4", "[0.1,1e308,5e-324,-2.5]"},
        {DTYPE_FP16, "[65504,65519.99,-6e-8,2049,2051]", "5", "[65504,65504,-6e-8,2048,2052]"},
        {DTYPE_BF16, "[1.00390625,257,-3.38e38]", "3", "[1,256,-3.38e38]"},
        {DTYPE_BOOL, "[true,false,0,1]", "4", "[true,false,false,true]"},
        {DTYPE_BOOL, "[[true],[false]]", "2,1", "[true,false]"},
        {DTYPE_UINT8, "[0,255]", "2", "[0,255]"},
        {DTYPE_INT8, "[-128,127,-0]", "3", "[-128,127,0]"},
        {DTYPE_UINT16, "[65535]", "1", "[65535]"},
        {DTYPE_INT16, "[-32768,32767]", "2", "[-32768,32767]"},
        {DTYPE_UINT32, "[4294967295]", "1", "[4294967295]"},
        {DTYPE_INT32, "[-2147483648,2147483647]", "2", "[-2147483648,2147483647]"},
        {DTYPE_UINT64, "[18446744073709551615,1234567,12345678,123456789]", "4",
         "[18446744073709551615,1234567,12345678,123456789]"},
        {DTYPE_INT64, "[[-9223372036854775808],[9223372036854775807]]", "2,1",
         "[-9223372036854775808,9223372036854775807]"},
        {DTYPE_BYTES, "[\"\",\"a\\u00e9\\n\",\"\\ud83d\\ude00\"]", "3",
         "[\"\",\"a\xc3\xa9\\u000a\",\"\xf0\x9f\x98\x80\"]"},
        {DTYPE_BYTES, "[[\"]\",\",\"],[\"[\",\"\\\"\"]]", "2,2", "[\"]\",\",\",\"[\",\"\\\"\"]"},
        {DTYPE_BYTES, "[]", "0", "[]"},
    };
    struct json_tensor t;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (size_t k = 0; k < sizeof(fillings); k++) {
            if (!read_tensor(rows[i].type, bytes_str(rows[i].text), fillings[k], 100, &t))
                fail_msg("%s: %s", rows[i].text, reader.error);
            assert_string_equal(shape_of(&t), rows[i].shape);
            assert_string_equal(printed(rows[i].type, &t), rows[i].want);
            assert_true(bytes_is(t.text, rows[i].text));
        }
}

static void bad_tensors_are_refused(void **state) {
    (void)state;
    static const struct {
        enum dtype type;
        const char *text;
        enum json_failure want;
    } rows[] = {
        {DTYPE_FP32, "", JSON_MALFORMED},
        {DTYPE_FP32, "1", JSON_TYPE},
        {DTYPE_FP32, "{}", JSON_TYPE},
        {DTYPE_FP32, "[\"1\"]", JSON_TYPE},
        {DTYPE_FP32, "[true]", JSON_TYPE},
        {DTYPE_FP32, "[null]", JSON_TYPE},
        {DTYPE_FP32, "[{}]", JSON_TYPE},
        {DTYPE_FP32, "[NaN]", JSON_MALFORMED},
        {DTYPE_FP32, "[Infinity]", JSON_MALFORMED},
        {DTYPE_FP32, "[-Infinity]", JSON_MALFORMED},
        {DTYPE_FP32, "[1e39]", JSON_RANGE},
        {DTYPE_FP32, "[-1e999]", JSON_RANGE},
        {DTYPE_FP32, "[3.4028235677973367e38]", JSON_RANGE},
        {DTYPE_FP64, "[1e309]", JSON_RANGE},
        {DTYPE_FP16, "[65520]", JSON_RANGE},
        {DTYPE_FP16, "[1e400]", JSON_RANGE},
        {DTYPE_BF16, "[3.4e38]", JSON_RANGE},
        {DTYPE_FP32, "[01]", JSON_MALFORMED},
        {DTYPE_FP32, "[1.]", JSON_MALFORMED},
        {DTYPE_FP32, "[.5]", JSON_MALFORMED},
        {DTYPE_FP32, "[+1]", JSON_MALFORMED},
        {DTYPE_FP32, "[1e]", JSON_MALFORMED},
        {DTYPE_FP32, "[0x1]", JSON_MALFORMED},
        {DTYPE_FP32, "[-]", JSON_MALFORMED},
        {DTYPE_FP32, "[1,]", JSON_MALFORMED},
        {DTYPE_FP32, "[,1]", JSON_MALFORMED},
        {DTYPE_FP32, "[1 2]", JSON_MALFORMED},
        {DTYPE_FP32, "[1.2.3]", JSON_MALFORMED},
        {DTYPE_FP32, "[1;2]", JSON_MALFORMED},
        {DTYPE_FP32, "[1}", JSON_MALFORMED},
        {DTYPE_FP32, "[1]]", JSON_MALFORMED},
        {DTYPE_FP32, "[\f1]", JSON_MALFORMED},
        {DTYPE_FP32, "[1,\v2]", JSON_MALFORMED},
        {DTYPE_FP32, "[[1],]", JSON_MALFORMED},
        {DTYPE_FP32, "[[1],[2}", JSON_MALFORMED},
        {DTYPE_FP32, "[[1][2]]", JSON_MALFORMED},
        {DTYPE_FP32, "[[1],[2],,[3]]", JSON_MALFORMED},
        {DTYPE_FP32, "[[1,2],[3]]", JSON_TYPE},
        {DTYPE_FP32, "[[1],2]", JSON_TYPE},
        {DTYPE_FP32, "[1,[2]]", JSON_TYPE},
        {DTYPE_FP32, "[[],[1]]", JSON_TYPE},
        {DTYPE_FP32, "[[[1]],[1]]", JSON_TYPE},
        {DTYPE_FP32, "[[[1],[2]],[[3]]]", JSON_TYPE},
        {DTYPE_FP32, "[[[]],[]]", JSON_TYPE},
        {DTYPE_FP32, "[[],[[]]]", JSON_TYPE},
        {DTYPE_FP32, "[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", JSON_LIMIT},
        {DTYPE_FP32, "[1,2,3,4,5]", JSON_LIMIT},
        {DTYPE_FP32, "[[1,2,3],[4,5,6]]", JSON_LIMIT},
        {DTYPE_BYTES, "[\"\",\"\",\"\",\"\",\"\"]", JSON_LIMIT},
        {DTYPE_FP32, "[0.12345678901234567890123456789012345678901234567890123456789012345]",
         JSON_LIMIT},
        {DTYPE_BOOL, "[2]", JSON_RANGE},
        {DTYPE_BOOL, "[1.0]", JSON_TYPE},
        {DTYPE_BOOL, "[-1]", JSON_TYPE},
        {DTYPE_BOOL, "[\"true\"]", JSON_TYPE},
        {DTYPE_BOOL, "[True]", JSON_MALFORMED},
        {DTYPE_BOOL, "[truefalse]", JSON_MALFORMED},
        {DTYPE_BOOL, "[tru", JSON_TYPE},
        {DTYPE_BOOL, "[01]", JSON_MALFORMED},
        {DTYPE_INT8, "[300]", JSON_RANGE},
        {DTYPE_INT8, "[-129]", JSON_RANGE},
        {DTYPE_UINT8, "[-1]", JSON_RANGE},
        {DTYPE_UINT8, "[256]", JSON_RANGE},
        {DTYPE_UINT64, "[18446744073709551616]", JSON_RANGE},
        {DTYPE_INT64, "[1.0]", JSON_TYPE},
        {DTYPE_INT64, "[1e0]", JSON_TYPE},
        {DTYPE_INT64, "[1.5]", JSON_TYPE},
        {DTYPE_INT32, "[\"1\"]", JSON_TYPE},
        {DTYPE_INT32, "[false]", JSON_TYPE},
        {DTYPE_INT32, "[01]", JSON_MALFORMED},
        {DTYPE_BYTES, "[1]", JSON_TYPE},
        {DTYPE_BYTES, "[\"a\"", JSON_MALFORMED},
        {DTYPE_BYTES, "[\"\\ud800\"]", JSON_MALFORMED},
        {DTYPE_BYTES, "[\"\xff\"]", JSON_MALFORMED},
        {DTYPE_BYTES, "[[\"a\"],\"b\"]", JSON_TYPE},
        {DTYPE_NONE, "[1]", JSON_TYPE},
    };
    struct json_tensor t;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (size_t k = 0; k < sizeof(fillings); k++) {
            if (read_tensor(rows[i].type, bytes_str(rows[i].text), fillings[k], 4, &t))
                fail_msg("%s accepted as %s", rows[i].text, dtype_name(rows[i].type));
            if (reader.failure != rows[i].want)
                fail_msg("%s: %s (%d), want %d", rows[i].text, reader.error, reader.failure,
                         rows[i].want);
        }
}

/* By json_tensor itself, and in the same way whatever stands in the padding. */
static void assert_prefix_refused(enum dtype type, struct bytes text) {
    enum json_failure first = JSON_FINE;
    size_t offset = 0;
    struct json_tensor t;
    for (size_t k = 0; k < sizeof(fillings); k++) {
        arena_reset(arena);
        assert_true(json_start(&reader, arena, guarded(text, fillings[k])));
        assert_false(json_tensor(&reader, type, 1000, &t));
        assert_true(k == 0 || (first == reader.failure && offset == reader.error_offset));
        first = reader.failure;
        offset = reader.error_offset;
    }
}

static void prefixes_are_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"[0.84018772840499878, 1e-05, [", "[[1,2.5e3],[-3,4]]",
                                        "[\"a\\u00e9\",\"b\"]", "[true,false]",
                                        "[12345678901234567,-1]"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        for (size_t n = 0; n < strlen(texts[i]); n++)
            for (int type = DTYPE_BOOL; type <= DTYPE_BYTES; type++)
                assert_prefix_refused((enum dtype)type, bytes_of(texts[i], n));
}

/* Large and small, with much and little space, known and unknown size: the values printed. */
static void random_tensors_are_exact(void **state) {
    (void)state;
    static const char *const commas[] = {",", ", ", " ,\n"};
    static const char *const forms[] = {"%.17g", "%.9g", "%.8f", "%.3e", "%.0f"};
    struct buf b;
    buf_init(&b, MIB(8));
    for (int round = 0; round < 60; round++) {
        uint64_t rows = 1 + below(round % 3 == 0 ? 1 : 9),
                 cols = below(round % 7 == 0 ? 9000 : 300);
        float *want = calloc(rows * cols + 1, sizeof(*want));
        const char *comma = commas[below(3)], *form = forms[below(5)];
        buf_clear(&b);
        for (uint64_t i = 0; i < rows; i++) {
            buf_add_str(&b, rows == 1 ? "" : i > 0 ? comma : "[");
            buf_add_str(&b, "[");
            for (uint64_t k = 0; k < cols; k++) {
                char text[64];
                snprintf(text, sizeof(text), form, ((double)(int64_t)chance()) * 0x1p-60);
                want[i * cols + k] = strtof(text, NULL);
                buf_printf(&b, "%s%s", k > 0 ? comma : "", text);
            }
            buf_add_str(&b, "]");
        }
        buf_add_str(&b, rows == 1 ? "" : "]");
        struct json_tensor t;
        uint64_t most = below(2) ? rows * cols : UINT64_MAX;
        assert_true(read_tensor(DTYPE_FP32, buf_bytes(&b), fillings[below(8)], most, &t));
        assert_true(t.elements == rows * cols && t.data.len == rows * cols * sizeof(float));
        assert_true(t.data.len == 0 || memcmp(t.data.at, want, t.data.len) == 0);
        assert_true(t.nested_shape[t.nested_rank - 1] == cols);
        if (rows * cols > 0)
            assert_false(read_tensor(DTYPE_FP32, buf_bytes(&b), '\0', rows * cols - 1, &t));
        free(want);
    }
    buf_free(&b);
}

/* A text that fills with the least text an element can have makes no more memory than a multiple
 * of what it holds; and running out of it is an answer, not a crash. */
static void memory_is_bounded(void **state) {
    (void)state;
    struct buf b;
    struct json_tensor t;
    buf_init(&b, MIB(3));
    buf_add_char(&b, '[');
    for (int i = 0; i < 4000; i++)
        buf_add_str(&b, "0.00000000000000000000000000000000000000000000001,");
    while (b.len < MIB(2))
        buf_add_str(&b, "0,");
    buf_add_str(&b, "0]");
    assert_true(read_tensor(DTYPE_FP64, buf_bytes(&b), '\0', UINT64_MAX, &t));
    assert_true(arena_used(arena) < 6 * t.data.len);
    for (size_t cap = KIB(1); cap < MIB(32); cap *= 2) {
        struct arena *small = arena_new(cap);
        assert_true(json_start(&reader, small, guarded(buf_bytes(&b), '\0')));
        bool fine = json_tensor(&reader, DTYPE_FP64, UINT64_MAX, &t);
        assert_int_equal(reader.failure, fine ? JSON_FINE : JSON_NO_MEMORY);
        arena_free(small);
    }
    buf_free(&b);
}

/* Checking looks at 64 bytes at a time; reading at one number.  read_tensor compares them. */
static void long_texts_with_a_flaw_agree(void **state) {
    static const char bytes[] = "0123456789.,-+eE ][}\"\t\nx";
    struct json_tensor t;
    struct buf b;
    (void)state;
    buf_init(&b, KIB(64));
    for (int i = 0; i < 20000; i++) {
        uint64_t n = 1 + below(60), rows = 1 + below(3);
        buf_clear(&b);
        for (uint64_t k = 0; k < n; k++)
            buf_printf(&b, "%s%.*g",
                       k == 0                              ? "["
                       : k * rows / n > (k - 1) * rows / n ? "],["
                                                           : ",",
                       1 + (int)below(17), (double)below(100000) / 99991 - 0.1);
        buf_add_str(&b, "]");
        buf_printf(&b, "%s", rows > 1 ? "]" : "");
        if (rows > 1)
            b.at[0] = '['; /* one bracket short: also a flaw */
        b.at[below(b.len)] = bytes[below(sizeof(bytes) - 1)];
        (void)read_tensor(below(2) == 0 ? DTYPE_FP32 : DTYPE_FP64, buf_bytes(&b), '\0',
                          below(4) == 0 ? below(60) : 10000, &t);
    }
    assert_false(b.failed);
    buf_free(&b);
}

static void depth_counts_from_the_top(void **state) {
    (void)state;
    struct json_tensor t;
    struct bytes key;
    static const char text[] = "{\"a\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}";
    arena_reset(arena);
    assert_true(json_start(&reader, arena, guarded(bytes_str(text), '\0')));
    assert_true(json_enter_object(&reader) && json_key(&reader, &key));
    assert_false(json_tensor(&reader, DTYPE_FP32, 1, &t));
    assert_int_equal(reader.failure, JSON_LIMIT);
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
        cmocka_unit_test(good_tensors_are_read),        cmocka_unit_test(bad_tensors_are_refused),
        cmocka_unit_test(prefixes_are_refused),         cmocka_unit_test(random_tensors_are_exact),
        cmocka_unit_test(long_texts_with_a_flaw_agree), cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(depth_counts_from_the_top),
    };
    return cmocka_run_group_tests(tests, make_arena, free_arena);
}
