#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../../proto/message.c"
#include "../../proto/predictions.c"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

static void test_names(void **state) {
    (void)state;
    for (unsigned i = DTYPE_NONE + 1; i < DTYPE_COUNT; i++)
        assert_int_equal(dtype_named(bytes_str(dtype_name((enum dtype)i))), i);
    static const char *const bad[] = {"", "fp32", "FP", "FP321", "STRING", "INT", " FP32"};
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(dtype_named(bytes_str(bad[i])), DTYPE_NONE);
    assert_int_equal(dtype_size(DTYPE_BF16), 2);
    assert_int_equal(dtype_size(DTYPE_BYTES), 0);
    assert_true(dtype_is_float(DTYPE_FP16) && dtype_is_float(DTYPE_FP64));
    assert_false(dtype_is_float(DTYPE_INT64) || dtype_is_float(DTYPE_BYTES));
    assert_string_equal(output_kind_names[OUT_OPAQUE], "opaque");
    assert_string_equal(output_kind_names[OUT_SCORES], "scores");
    assert_null(output_kind_names[OUT_OPAQUE + 1]);
}

static double read_back(enum dtype type, const void *at) {
    struct tensor t = {.dtype = type, .elements = 1, .data = bytes_of(at, dtype_size(type))};
    return tensor_number(&t, 0);
}

/* What a value becomes in each datatype: rounding to even, saturation, no wrap-around. */
static void test_write(void **state) {
    static const struct {
        enum dtype type;
        double in, out;
    } rows[] = {
        {DTYPE_BOOL, 0.4, 0},
        {DTYPE_BOOL, 7, 1},
        {DTYPE_UINT8, 2.5, 2},
        {DTYPE_UINT8, 3.5, 4},
        {DTYPE_UINT8, 300, 255},
        {DTYPE_UINT8, -3, 0},
        {DTYPE_UINT8, NAN, 0},
        {DTYPE_INT8, -129, -128},
        {DTYPE_INT8, -128, -128},
        {DTYPE_INT8, 127.6, 127},
        {DTYPE_UINT16, INFINITY, 65535},
        {DTYPE_INT16, -INFINITY, -32768},
        {DTYPE_UINT32, 4294967295.0, 4294967295.0},
        {DTYPE_INT32, -2147483648.5, -2147483648.0},
        {DTYPE_UINT64, 1e30, 18446744073709551615.0},
        {DTYPE_INT64, 1e30, 9223372036854775807.0},
        {DTYPE_INT64, -1e30, -9223372036854775808.0},
        {DTYPE_INT64, NAN, 0},
        {DTYPE_INT64, -9007199254740992.0, -9007199254740992.0},
        {DTYPE_FP16, 1, 1},
        {DTYPE_FP16, 65504, 65504},
        {DTYPE_FP16, 65519.99, 65504},
        {DTYPE_FP16, 65520, INFINITY},
        {DTYPE_FP16, -1e300, -INFINITY},
        {DTYPE_FP16, 0x1p-24, 0x1p-24},
        {DTYPE_FP16, 0x1p-25, 0},
        {DTYPE_FP16, 0x1.8p-25, 0x1p-24},
        {DTYPE_FP16, 0x1.ffbp-15, 0x1p-14 - 0x1p-24},
        {DTYPE_FP16, 0x1.ffcp-15, 0x1p-14},
        /* To float first this is a tie and goes to even, down; rounded once it goes up. */
        {DTYPE_FP16, 1 + 0x1p-11 + 0x1p-40, 1 + 0x1p-10},
        {DTYPE_FP16, 1 + 0x1p-11, 1},
        {DTYPE_BF16, 1 + 0x1p-8, 1},
        {DTYPE_BF16, 1 + 0x1.8p-8, 1 + 0x1p-7},
        {DTYPE_BF16, 0x1.fep127, 0x1.fep127},
        {DTYPE_BF16, 0x1.ffp127, INFINITY},
        {DTYPE_BF16, 0x1p-133, 0x1p-133},
        {DTYPE_FP32, 1e39, INFINITY},
        {DTYPE_FP32, 0.1, 0.1f},
        {DTYPE_FP64, 0.1, 0.1},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char element[9] = "xxxxxxxxx";
        dtype_write(rows[i].type, rows[i].in, element);
        if (read_back(rows[i].type, element) != rows[i].out)
            fail_msg("row %zu: %a became %a, not %a", i, rows[i].in,
                     read_back(rows[i].type, element), rows[i].out);
        for (size_t j = dtype_size(rows[i].type); j < sizeof(element); j++)
            assert_int_equal(element[j], 'x');
    }
}

/* Every 16-bit pattern comes back as itself; a NaN as some NaN. */
static void test_narrow_all(void **state) {
    static const enum dtype types[] = {DTYPE_FP16, DTYPE_BF16};
    (void)state;
    for (size_t i = 0; i < COUNT(types); i++)
        for (unsigned bits = 0; bits < 65536; bits++) {
            uint16_t in = (uint16_t)bits, out;
            double v = read_back(types[i], &in);
            dtype_write(types[i], v, &out);
            if (isnan(v))
                assert_true(isnan(read_back(types[i], &out)));
            else
                assert_int_equal(in, out);
        }
}

/* Between two neighbours the nearer is taken, and of two as near the even one. */
static void test_narrow_between(void **state) {
    (void)state;
    for (unsigned bits = 0; bits < 0x7bff; bits++) {
        uint16_t low = (uint16_t)bits, high = (uint16_t)(bits + 1), out;
        double a = fp16_read(low), b = fp16_read(high), middle = (a + b) / 2;
        dtype_write(DTYPE_FP16, middle, &out);
        assert_int_equal(out, bits % 2 == 0 ? low : high);
        dtype_write(DTYPE_FP16, nextafter(middle, b), &out);
        assert_int_equal(out, high);
        dtype_write(DTYPE_FP16, nextafter(middle, a), &out);
        assert_int_equal(out, low);
    }
}

static void test_values(void **state) {
    struct arena *a = arena_new(MIB(1));
    float data[] = {0.5f, -0.25f, 3, 4, 5, 6};
    struct output o = {
        .tensor = {.dtype = DTYPE_FP32, .elements = 6, .data = bytes_of(data, sizeof(data))},
        .rows = 2,
        .cols = 3};
    (void)state;
    double *v = output_values(a, &o);
    assert_non_null(v);
    assert_true(v[1] == -0.25 && v[5] == 6);
    assert_ptr_equal(output_values(a, &o), v);
    struct output bytes = {.tensor = {.dtype = DTYPE_BYTES, .elements = 1}, .rows = 1, .cols = 1};
    assert_null(output_values(a, &bytes));
    struct output opaque = o;
    opaque.values = NULL;
    opaque.kind = OUT_OPAQUE;
    assert_null(output_values(a, &opaque));
    arena_free(a);
}

static void test_copy(void **state) {
    struct arena *a = arena_new(MIB(1));
    double values[] = {1, 2};
    struct output_class classes[] = {{1, BYTES_LITERAL("x")}, {2, BYTES_LITERAL("y")}};
    struct output outputs[] = {{.rows = 1, .cols = 2, .values = values, .classes = classes},
                               {.rows = 1, .cols = 1, .dropped = true}};
    struct predictions p = {outputs, 2, BYTES_LITERAL("m"), {0}, {0}}, copy;
    (void)state;
    assert_true(predictions_copy(a, &p, &copy));
    copy.outputs[0].values[0] = 9;
    copy.outputs[0].classes[1].index = 9;
    copy.outputs[1].dropped = false;
    assert_true(values[0] == 1 && classes[1].index == 2 && outputs[1].dropped);
    assert_true(copy.outputs[0].values[1] == 2 && bytes_is(copy.model, "m"));
    struct arena *small = arena_new(64);
    assert_false(predictions_copy(small, &p, &copy));
    arena_free(small);
    arena_free(a);
}

static void test_headers(void **state) {
    struct header headers[] = {{BYTES_LITERAL("Host"), BYTES_LITERAL("a")},
                               {BYTES_LITERAL("X"), BYTES_LITERAL("1")},
                               {BYTES_LITERAL("x"), BYTES_LITERAL("2")}};
    struct message m = {.headers = headers, .header_count = 3};
    struct bytes out;
    (void)state;
    assert_true(message_header(&m, "hOST", &out));
    assert_true(bytes_is(out, "a"));
    assert_false(message_header(&m, "X", &out));
    assert_true(message_has(&m, "x"));
    assert_false(message_header(&m, "none", &out));
    assert_int_equal(out.len, 0);
    assert_false(message_has(&m, "none"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),      cmocka_unit_test(test_write),
        cmocka_unit_test(test_narrow_all), cmocka_unit_test(test_narrow_between),
        cmocka_unit_test(test_values),     cmocka_unit_test(test_copy),
        cmocka_unit_test(test_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
