/* Numbers against the C library, bit for bit, on random, halfway and edge texts. */
#include "../../proto/json_number.c"

#include "json_harness.h"

#ifndef ROUNDS
#define ROUNDS 1000000
#endif

static uint64_t bits64(double v) {
    uint64_t b;
    memcpy(&b, &v, sizeof(b));
    return b;
}

static uint32_t bits32(float v) {
    uint32_t b;
    memcpy(&b, &v, sizeof(b));
    return b;
}

/* Reads text with both scanners; they must agree wherever the quick one decides. */
static struct json_number scanned(const char *text) {
    struct json_number n, q;
    bool too_long;
    size_t len = strlen(text);
    static char kept[JSON_NUMBER_MAX + 1 + BODY_PADDING]; /* n points into it */
    assert_true(len <= JSON_NUMBER_MAX);
    memset(kept, 0, sizeof(kept));
    memcpy(kept, text, len);
    const char *behind = json_number_scan(kept, kept + len, &n, &too_long);
    if (behind != kept + len)
        fail_msg("%s: not scanned", text);
    behind = json_number_quick(kept, &q);
    if (behind != NULL) {
        assert_ptr_equal(behind, kept + len);
        assert_int_equal(q.negative, n.negative);
        assert_int_equal(q.whole, n.whole);
        assert_false(q.dropped);
        assert_true(q.digits == n.digits || n.dropped);
        assert_true(q.exponent == n.exponent || n.dropped);
        if (!n.dropped)
            n = q;
    }
    return n;
}

static void check_text(const char *text) {
    struct json_number n = scanned(text);
    double v64, want64 = strtod(text, NULL);
    float v32, want32 = strtof(text, NULL);
    bool fits64 = json_number_fp64(&n, &v64), fits32 = json_number_fp32(&n, &v32);
    if (fits64 != (bool)isfinite(want64) || bits64(v64) != bits64(want64))
        fail_msg("%s: FP64 %a, want %a", text, v64, want64);
    if (fits32 != (bool)isfinite(want32) || bits32(v32) != bits32(want32))
        fail_msg("%s: FP32 %a, want %a", text, (double)v32, (double)want32);
}

static void edges_match_libc(void **state) {
    (void)state;
    static const char *const texts[] = {
        "0",
        "-0",
        "0.0",
        "-0.0e5",
        "0e999999999",
        "1",
        "-1",
        "1e22",
        "1e23",
        "9007199254740993",
        "9007199254740992.5",
        "9007199254740993e22",
        "1e-22",
        "1e-23",
        "123456789012345678",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999e-20",
        "4.9406564584124654e-324",
        "2.4703282292062327e-324",
        "2.4703282292062328e-324",
        "2.2250738585072011e-308",
        "2.2250738585072014e-308",
        "1.7976931348623157e308",
        "1.7976931348623158e308",
        "1.7976931348623159e308",
        "1e309",
        "-1e309",
        "1e-400",
        "1e99999999",
        "1e-99999999",
        "0.1e-99999999999999",
        "3.4028234663852886e38",
        "3.4028235677973365e38",
        "3.4028235677973366e38",
        "3.4028235677973367e38",
        "1e39",
        "1.1754943508222875e-38",
        "1.1754942807573643e-38",
        "1.4012984643248171e-45",
        "7.0064923216240853e-46",
        "7.0064923216240854e-46",
        "7.0064923216240862e-46",
        "16777217",
        "16777219",
        "33554434.5",
        "16777217.00000000000000000000000000000000000000000001",
        "16777216.99999999999999999999999999999999999999999999",
        "0.000000000000000000000000000000000000000000000000000000000001",
        "100000000000000000000000000000000000000000000000000000000000000",
        "1234567.8901234567890123",
        "0.00012345678901234567",
        "0.84018772840499878",
        "1.00000005960464477539062500000000001",
        "1.000000059604644775390625",
        "1.00000017881393432617187500",
        "9999999.99999999999999999",
        "1E5",
        "1e+05",
        "1e-05",
        "12e0001",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        check_text(texts[i]);
}

/* Any bits, printed to any length; the loops of all three cover ROUNDS texts many times over. */
static void random_floats_match_libc(void **state) {
    (void)state;
    char text[64];
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t b = chance();
        double v;
        memcpy(&v, &b, sizeof(v));
        if (i % 2 != 0) {
            float f;
            uint32_t low = (uint32_t)b;
            memcpy(&f, &low, sizeof(f));
            v = (double)f;
        }
        if (!isfinite(v))
            continue;
        snprintf(text, sizeof(text), i % 4 < 2 ? "%.*g" : "%.*e", (int)(1 + below(20)), v);
        check_text(text);
    }
}

static void random_digits_match_libc(void **state) {
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        char text[JSON_NUMBER_MAX + 1];
        size_t n = 0, whole = below(12), fraction = below(i % 16 == 0 ? 36 : 20);
        if (chance() & 1)
            text[n++] = '-';
        text[n++] = (char)(whole == 0 ? '0' : '1' + (int)below(9));
        for (size_t k = 1; k < whole; k++)
            text[n++] = (char)('0' + below(10));
        for (size_t k = 0; k < fraction; k++) {
            if (k == 0)
                text[n++] = '.';
            text[n++] = (char)('0' + below(10));
        }
        text[n] = '\0';
        if (chance() & 1)
            snprintf(text + n, sizeof(text) - n, "e%d", (int)below(i % 4 == 0 ? 700 : 80) - 40);
        check_text(text);
    }
}

/* Halfway between two neighbours, and a little to either side. */
static void halfway_texts_match_libc(void **state) {
    (void)state;
    char text[JSON_NUMBER_MAX + 1];
    for (int i = 0; i < ROUNDS / 4; i++) {
        uint32_t low = (uint32_t)(0x30000000 + below(0x20000000));
        float f, next;
        memcpy(&f, &low, sizeof(f));
        low++;
        memcpy(&next, &low, sizeof(next));
        double half = ((double)f + (double)next) / 2;
        snprintf(text, sizeof(text), "%.*g", (int)(9 + below(40)), half);
        check_text(text);
        uint64_t b = (0x3000000000000000 + below(0x2000000000000000));
        double d;
        memcpy(&d, &b, sizeof(d));
        long double between = ((long double)d + (long double)nextafter(d, INFINITY)) / 2;
        snprintf(text, sizeof(text), "%.*Lg", (int)(15 + below(40)), between);
        check_text(text);
    }
}

static void bad_numbers_are_refused(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",          "-",    "+1",  ".5",  "-.5", "1.",           "1.e5", "01",
        "00",        "-01",  "1e",  "1e+", "1E-", "e5",           "NaN",  "Infinity",
        "-Infinity", "-NaN", "0x1", "--1", "- 1", "\xef\xbc\x91", "inf",
    };
    struct json_number n;
    bool too_long;
    char text[128] = "";
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const char *at = strcpy(text, texts[i]), *end = at + strlen(at);
        const char *behind = json_number_scan(at, end, &n, &too_long);
        if (behind != NULL && (behind == end || texts[i][0] == '\0'))
            fail_msg("%s: accepted", texts[i]);
        behind = json_number_quick(at, &n);
        if (behind != NULL && behind >= end)
            fail_msg("%s: accepted by the quick scanner", texts[i]);
        assert_false(too_long);
    }
    memset(text, '1', sizeof(text));
    assert_null(json_number_scan(text, text + JSON_NUMBER_MAX + 1, &n, &too_long));
    assert_true(too_long);
    assert_non_null(json_number_scan(text, text + JSON_NUMBER_MAX, &n, &too_long));
}

static double value_16(enum dtype type, uint16_t bits) {
    struct tensor t = {.dtype = type, .elements = 1, .data = bytes_of(&bits, sizeof(bits))};
    return tensor_number(&t, 0);
}

static void check_16(enum dtype type, const char *text, uint16_t want) {
    struct json_number n = scanned(text);
    uint16_t got;
    bool fits = json_number_16(&n, type, &got);
    uint16_t infinite = type == DTYPE_FP16 ? 0x7c00 : 0x7f80;
    if (got != want || fits != ((want & 0x7fff) < infinite))
        fail_msg("%s: %s %04x, want %04x", text, dtype_name(type), got, want);
}

/* Every pattern reads back; halfway to the next goes to even, a 10^-40th more goes up, and what
 * the double beside it hides is not lost. */
static void sixteen_bits_round_once(void **state) {
    (void)state;
    static const enum dtype types[] = {DTYPE_FP16, DTYPE_BF16};
    char text[256];
    for (int k = 0; k < 2; k++) {
        uint16_t infinite = types[k] == DTYPE_FP16 ? 0x7c00 : 0x7f80;
        for (uint16_t b = 0; b < infinite; b++) {
            double v = value_16(types[k], b);
            snprintf(text, sizeof(text), "-%.17g", v);
            check_16(types[k], text, b | 0x8000);
            double next =
                b + 1 == infinite ? v + (v - value_16(types[k], b - 1)) : value_16(types[k], b + 1);
            double half = (v + next) / 2;
            int n = snprintf(text, sizeof(text), "%.*f", half < 1 ? 45 : 20, half);
            if (n > 62 || strtod(text, NULL) != half || half < 1e-7)
                continue; /* its exact text is too long */
            check_16(types[k], text, (b & 1) != 0 ? b + 1 : b);
            strcpy(text + n, "1");
            check_16(types[k], text, b + 1);
            snprintf(text, sizeof(text), "%.17g", nextafter(half, 0));
            check_16(types[k], text, b);
        }
    }
}

static void integers_keep_their_range(void **state) {
    (void)state;
    static const struct {
        enum dtype type;
        const char *text;
        bool fits;
        uint64_t want;
    } rows[] = {
        {DTYPE_INT8, "127", true, 127},
        {DTYPE_INT8, "128", false, 0},
        {DTYPE_INT8, "-128", true, (uint64_t)-128},
        {DTYPE_INT8, "-129", false, 0},
        {DTYPE_UINT8, "255", true, 255},
        {DTYPE_UINT8, "256", false, 0},
        {DTYPE_UINT8, "-1", false, 0},
        {DTYPE_UINT8, "-0", false, 0},
        {DTYPE_INT16, "-32768", true, (uint64_t)-32768},
        {DTYPE_INT16, "32768", false, 0},
        {DTYPE_UINT32, "4294967295", true, UINT32_MAX},
        {DTYPE_UINT32, "4294967296", false, 0},
        {DTYPE_INT64, "9223372036854775807", true, INT64_MAX},
        {DTYPE_INT64, "9223372036854775808", false, 0},
        {DTYPE_INT64, "-9223372036854775808", true, (uint64_t)INT64_MIN},
        {DTYPE_INT64, "-9223372036854775809", false, 0},
        {DTYPE_UINT64, "18446744073709551615", true, UINT64_MAX},
        {DTYPE_UINT64, "18446744073709551616", false, 0},
        {DTYPE_UINT64, "10000000000000000000", true, 10000000000000000000u},
        {DTYPE_UINT64, "100000000000000000000", false, 0},
        {DTYPE_INT32, "-0", true, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct json_number n = scanned(rows[i].text);
        uint64_t got;
        bool fits = json_number_integer(&n, rows[i].type, &got);
        if (fits != rows[i].fits || (fits && got != rows[i].want))
            fail_msg("%s as %s", rows[i].text, dtype_name(rows[i].type));
    }
}

/* The tables, made again another way: 128-bit long division. */
static void tables_are_right(void **state) {
    (void)state;
    unsigned __int128 power = 1;
    for (int q = 0; q <= 38; q++, power *= 10) {
        unsigned __int128 top = power, rest = 1, quotient = 0;
        int bits = 0;
        for (; top >> 127 == 0; top <<= 1)
            bits++;
        assert_true((uint64_t)(top >> 64) == json_power_significand[JSON_POWER_MAX + q]);
        assert_int_equal(json_power_exponent(q), 127 - bits - 63);
        for (int i = 0; quotient >> 63 == 0; i++) {
            quotient = quotient << 1 | (rest >= power);
            rest = (rest >= power ? rest - power : rest) << 1;
        }
        assert_true((uint64_t)quotient == json_power_significand[JSON_POWER_MAX - q]);
    }
    for (int q = -JSON_POWER_MAX; q <= JSON_POWER_MAX; q++) {
        char text[16];
        snprintf(text, sizeof(text), "1e%d", q);
        double v =
            ldexp((double)json_power_significand[q + JSON_POWER_MAX], json_power_exponent(q));
        assert_true(fabs(v / strtod(text, NULL) - 1) < 1e-15);
        if (q <= JSON_NEAR_MAX)
            assert_true(json_power_near[q + JSON_POWER_MAX] == strtod(text, NULL));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edges_match_libc),          cmocka_unit_test(random_floats_match_libc),
        cmocka_unit_test(random_digits_match_libc),  cmocka_unit_test(halfway_texts_match_libc),
        cmocka_unit_test(bad_numbers_are_refused),   cmocka_unit_test(sixteen_bits_round_once),
        cmocka_unit_test(integers_keep_their_range), cmocka_unit_test(tables_are_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
