/* What is written is JSON, reads back as the same number, and is no longer than it has to be. */
#include "../../proto/json_write.c"

#include "jansson_oracle.h"
#include "json_harness.h"

#ifndef ROUNDS
#define ROUNDS 1000000
#endif

static struct buf out;

static const char *text(void) {
    buf_add_char(&out, '\0');
    assert_false(out.failed);
    return out.at;
}

static const char *double_text(double v) {
    buf_clear(&out);
    json_write_double(&out, v);
    return text();
}

static const char *float_text(float v) {
    buf_clear(&out);
    json_write_float(&out, v);
    return text();
}

static const char *grid_text(int64_t n, int digits) {
    buf_clear(&out);
    json_write_grid(&out, n, digits);
    return text();
}

/* A number by RFC 8259's grammar, whole. */
static void assert_number(const char *s) {
    struct json_number n;
    bool too_long;
    if (json_number_scan(s, s + strlen(s), &n, &too_long) != s + strlen(s))
        fail_msg("%s is no JSON number", s);
}

static void numbers_look_as_expected(void **state) {
    (void)state;
    static const struct {
        double v;
        const char *as_double, *as_float;
    } rows[] = {
        {0, "0", "0"},
        {-0.0, "-0.0", "-0.0"},
        {1, "1", "1"},
        {-3, "-3", "-3"},
        {0.5, "0.5", "0.5"},
        {0.1, "0.1", "0.1"},
        {-2.25, "-2.25", "-2.25"},
        {100, "100", "100"},
        {1e15, "1000000000000000", "1000000000000000"},
        {1e16, "10000000000000000", "10000000000000000"},
        {1e17, "1e17", "1e17"},
        {1e22, "1e22", "1e22"},
        {1.5e-5, "0.000015", "0.000015"},
        {1.5e-6, "1.5e-6", "1.5e-6"},
        {1.25e-30, "1.25e-30", "1.25e-30"},
        {123456.789, "123456.789", "123456.79"},
        {1.0 / 3, "0.3333333333333333", "0.33333334"},
        {16777216, "16777216", "16777216"},
        {9007199254740991, "9007199254740991", "9007199000000000"},
        {0.30000000000000004, "0.30000000000000004", "0.3"},
        {5e-324, "5e-324", "0"},
        {2.2250738585072014e-308, "2.2250738585072014e-308", "0"},
        {1e-45, "1e-45", "1e-45"},
        {1.7976931348623157e308, "1.7976931348623157e308", NULL},
        {3.4028234663852886e38, "3.4028234663852886e38", "3.4028235e38"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_string_equal(double_text(rows[i].v), rows[i].as_double);
        if (rows[i].as_float != NULL)
            assert_string_equal(float_text((float)rows[i].v), rows[i].as_float);
    }
}

/* Digits from the first to the last that is not zero. */
static int significant(const char *s) {
    int n = 0, zeros = 0;
    for (; *s != '\0' && *s != 'e'; s++) {
        if (*s < '0' || *s > '9' || (n == 0 && *s == '0'))
            continue;
        n += zeros + 1;
        zeros = 0;
        if (*s == '0') {
            n--;
            zeros = 1;
            while (s[1] == '0' || s[1] == '.')
                zeros += *++s == '0';
        }
    }
    return n;
}

static int shortest_digits(double v, bool as_float) {
    char s[64];
    for (int n = 1;; n++) {
        snprintf(s, sizeof(s), "%.*e", n - 1, v);
        if (as_float ? strtof(s, NULL) == (float)v : strtod(s, NULL) == v)
            return n;
    }
}

static void random_doubles_read_back(void **state) {
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        double v;
        uint64_t bits = chance();
        memcpy(&v, &bits, sizeof(v));
        if (i % 4 == 1)
            v = (double)chance() * 0x1p-64;
        else if (i % 4 == 2)
            v = (double)(int64_t)below(1000000) / (double)json_power_u64[below(8)];
        else if (i % 4 == 3)
            v = ldexp(v, -(int)below(60)) * 1e-20;
        if (!isfinite(v))
            continue;
        const char *s = double_text(v);
        assert_number(s);
        if (strtod(s, NULL) != v)
            fail_msg("%s for %.17g", s, v);
        if (i % 16 < 3 && significant(s) > shortest_digits(v, false))
            fail_msg("%s for %.17g is too long", s, v);
    }
}

static void random_floats_read_back(void **state) {
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        float v;
        uint32_t bits = (uint32_t)chance();
        memcpy(&v, &bits, sizeof(v));
        if (i % 4 == 1)
            v = (float)below(1u << 24) * 0x1p-24f;
        else if (i % 4 == 2)
            v = (float)below(100000) / (float)json_power_u64[below(6)];
        else if (i % 4 == 3)
            v = ldexpf(v, -(int)below(60));
        if (!isfinite(v))
            continue;
        const char *s = float_text(v);
        assert_number(s);
        if (strtof(s, NULL) != v)
            fail_msg("%s for %.9g", s, (double)v);
        if (i % 16 < 4 && v != rintf(v) && significant(s) > shortest_digits((double)v, true))
            fail_msg("%s for %.9g is too long", s, (double)v);
    }
}

static void sixteen_bits_read_back(void **state) {
    (void)state;
    static const enum dtype types[] = {DTYPE_FP16, DTYPE_BF16};
    for (int k = 0; k < 2; k++) {
        uint16_t infinite = types[k] == DTYPE_FP16 ? 0x7c00 : 0x7f80;
        for (uint32_t b = 0; b < 0x10000; b++) {
            uint16_t bits = (uint16_t)b, back;
            struct json_number n;
            bool too_long, finite = (b & 0x7fff) < infinite;
            buf_clear(&out);
            assert_int_equal(json_write_tensor(&out, types[k], bytes_of(&bits, 2), 1), finite);
            if (!finite)
                continue;
            size_t len = strlen(text()) - 2;
            assert_true(json_number_scan(out.at + 1, out.at + 1 + len, &n, &too_long) ==
                        out.at + 1 + len);
            assert_true(json_number_16(&n, types[k], &back) && back == bits);
        }
    }
}

static void grids_are_decimal_fractions(void **state) {
    (void)state;
    static const struct {
        int64_t n;
        int digits;
        const char *want;
    } rows[] = {
        {0, 0, "0"},
        {0, 15, "0"},
        {25, 2, "0.25"},
        {100, 2, "1"},
        {-35, 1, "-3.5"},
        {1, 15, "0.000000000000001"},
        {-1, 15, "-0.000000000000001"},
        {9007199254740991, 0, "9007199254740991"},
        {9007199254740991, 15, "9.007199254740991"},
        {-9007199254740991, 1, "-900719925474099.1"},
        {10, 0, "10"},
        {1000, 5, "0.01"},
        {123456, 3, "123.456"},
        {5, 1, "0.5"},
        {4096, 12, "0.000000004096"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_string_equal(grid_text(rows[i].n, rows[i].digits), rows[i].want);
    for (int i = 0; i < ROUNDS / 10; i++) {
        int64_t n = (int64_t)(chance() >> (11 + below(50)));
        int digits = (int)below(16);
        const char *s = grid_text(i % 2 != 0 ? -n : n, digits);
        assert_number(s);
        assert_null(strchr(s, 'e'));
        double want = (double)(i % 2 != 0 ? -n : n) / (double)json_power_u64[digits];
        if (strtod(s, NULL) != want)
            fail_msg("%s for %lld, %d digits", s, (long long)n, digits);
    }
}

static void tensors_are_arrays(void **state) {
    (void)state;
    static const struct {
        enum dtype type;
        const char *data;
        size_t len;
        uint64_t elements;
        const char *want; /* NULL: refused */
    } rows[] = {
        {DTYPE_FP32, "", 0, 0, "[]"},
        {DTYPE_FP32, "\0\0\x80\x3f\0\0\x00\xbf", 8, 2, "[1,-0.5]"},
        {DTYPE_FP32, "\0\0\x80\x7f", 4, 1, NULL},
        {DTYPE_FP32, "\0\0\xc0\xff", 4, 1, NULL},
        {DTYPE_FP64, "\0\0\0\0\0\0\xf0\x7f", 8, 1, NULL},
        {DTYPE_FP16, "\0\x7c", 2, 1, NULL},
        {DTYPE_FP32, "\0\0\x80", 3, 1, NULL},
        {DTYPE_BOOL, "\0\1", 2, 2, "[false,true]"},
        {DTYPE_INT8, "\x80\x7f", 2, 2, "[-128,127]"},
        {DTYPE_UINT8, "\x80\xff", 2, 2, "[128,255]"},
        {DTYPE_INT16, "\xff\xff\0\x80", 4, 2, "[-1,-32768]"},
        {DTYPE_INT32, "\xff\xff\xff\xff", 4, 1, "[-1]"},
        {DTYPE_UINT32, "\xff\xff\xff\xff", 4, 1, "[4294967295]"},
        {DTYPE_INT64, "\0\0\0\0\0\0\0\x80", 8, 1, "[-9223372036854775808]"},
        {DTYPE_UINT64, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, 1, "[18446744073709551615]"},
        {DTYPE_BYTES, "\1\0\0\0a\0\0\0\0", 9, 2, "[\"a\",\"\"]"},
        {DTYPE_BYTES, "\2\0\0\0\"\\", 6, 1, "[\"\\\"\\\\\"]"},
        {DTYPE_BYTES, "\1\0\0\0\xff", 5, 1, NULL},
        {DTYPE_BYTES, "\2\0\0\0a", 5, 1, NULL},
        {DTYPE_BYTES, "\1\0\0\0ab", 6, 1, NULL},
        {DTYPE_BYTES, "\1\0", 2, 1, NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        buf_clear(&out);
        bool fine = json_write_tensor(&out, rows[i].type, bytes_of(rows[i].data, rows[i].len),
                                      rows[i].elements);
        assert_int_equal(fine, rows[i].want != NULL);
        if (fine)
            assert_string_equal(text(), rows[i].want);
    }
}

/* Any bytes as any datatype: refused, or JSON to jansson too. */
static void random_tensors_are_json(void **state) {
    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint64_t words[8];
        enum dtype type = (enum dtype)(DTYPE_BOOL + below(DTYPE_BYTES - DTYPE_BOOL));
        for (int k = 0; k < 8; k++)
            words[k] = chance() >> below(64);
        buf_clear(&out);
        if (!json_write_tensor(&out, type, bytes_of(words, sizeof(words)),
                               sizeof(words) / dtype_size(type)))
            continue;
        json_t *root = json_loadb(out.at, out.len, JSON_DECODE_INT_AS_REAL, NULL);
        if (root == NULL)
            fail_msg("%s", text());
        json_decref(root);
    }
}

static void full_buffers_fail(void **state) {
    (void)state;
    struct buf small;
    buf_init(&small, 8);
    json_write_double(&small, 0.5);
    assert_true(small.failed && small.len == 0);
    buf_free(&small);
}

static int make_out(void **state) {
    (void)state;
    buf_init(&out, MIB(1));
    return 0;
}

static int free_out(void **state) {
    (void)state;
    buf_free(&out);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_look_as_expected),    cmocka_unit_test(random_doubles_read_back),
        cmocka_unit_test(random_floats_read_back),     cmocka_unit_test(sixteen_bits_read_back),
        cmocka_unit_test(grids_are_decimal_fractions), cmocka_unit_test(tensors_are_arrays),
        cmocka_unit_test(random_tensors_are_json),     cmocka_unit_test(full_buffers_fail),
    };
    return cmocka_run_group_tests(tests, make_out, free_out);
}
