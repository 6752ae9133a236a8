/* The oracle is glibc's printf, which rounds the exact binary value half to even. */
#include "../../filters/round.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct arena *arena;

static int setup(void **unused) {
    (void)unused;
    arena = arena_new(MIB(16));
    return 0;
}

static int teardown(void **unused) {
    (void)unused;
    arena_free(arena);
    return 0;
}

static struct output fp64(enum output_kind kind, uint32_t rows, uint32_t cols, const double *from) {
    uint64_t n = (uint64_t)rows * cols;
    return (struct output){.tensor = {.dtype = DTYPE_FP64,
                                      .rank = 2,
                                      .shape = {rows, cols},
                                      .elements = n,
                                      .data = bytes_of(from, n * sizeof(*from))},
                           .kind = kind,
                           .rows = rows,
                           .cols = cols,
                           .grid_digits = -1};
}

static struct verdict run(uint64_t digits, struct output *o) {
    struct conf conf = {digits};
    struct predictions p = {.outputs = o, .count = 1};
    struct filter_call call = {.conf = &conf, .arena = arena};
    return on_answer(&call, &p);
}

static double oracle(double v, uint64_t digits) {
    char text[400];
    snprintf(text, sizeof(text), "%.*f", (int)digits, v);
    return strtod(text, NULL) + 0.0;
}

static double rounded(double v, uint64_t digits) {
    struct output o = fp64(OUT_VALUE, 1, 1, &v);
    assert_int_equal(run(digits, &o).kind, VERDICT_PASS);
    assert_true(o.changed);
    assert_int_equal(o.grid_digits, digits);
    return o.values[0];
}

static void known_values(void **unused) {
    (void)unused;
    static const struct {
        double v;
        uint64_t digits;
        double expected;
    } table[] = {
        {0.125, 2, 0.12}, {0.375, 2, 0.38},    {0.5, 0, 0},         {1.5, 0, 2},
        {2.5, 0, 2},      {-0.5, 0, 0},        {-1.5, 0, -2},       {-0.001, 2, 0},
        {2.675, 2, 2.67}, {1.005, 2, 1.0},     {0.145, 2, 0.14},    {0.285, 2, 0.28},
        {0.615, 2, 0.61}, {1.115, 2, 1.11},    {8.345, 2, 8.35},    {0.3f, 2, 0.3},
        {0, 2, 0},        {1, 9, 1},           {0.999, 2, 1},       {1e-300, 9, 0},
        {5e-324, 0, 0},   {-32768, 9, -32768}, {1e6 + 0.5, 0, 1e6}, {123456789.25, 1, 123456789.2},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        double got = rounded(table[i].v, table[i].digits);
        if (got != table[i].expected || (got == 0 && signbit(got)))
            fail_msg("%.17g to %u digits: %.17g", table[i].v, (unsigned)table[i].digits, got);
    }
}

static uint64_t rng(void) {
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    return x ^= x << 17;
}

/* Near halves on purpose: k + 1/2 grid steps, and the doubles around it. */
static void agrees_with_printf(void **unused) {
    (void)unused;
    for (int i = 0; i < 300000; i++) {
        uint64_t digits = rng() % 10;
        double v = (double)(rng() >> 11) * 0x1p-53 * (double)(1u << rng() % 20);
        if (i % 2 == 0)
            v = ((double)(rng() % 100000) + 0.5) / power_of_ten(digits);
        if (i % 3 == 0)
            v = nextafter(v, i % 6 == 0 ? 1e9 : -1e9);
        v = i % 5 == 0 ? -v : v;
        double got = to_grid(v, power_of_ten(digits)) / power_of_ten(digits);
        if (got != oracle(v, digits))
            fail_msg("%.17g to %u digits: %.17g", v, (unsigned)digits, got);
    }
}

static void what_cannot_be_rounded_is_a_fault(void **unused) {
    (void)unused;
    static const struct {
        double v;
        uint64_t digits;
        enum verdict_kind kind;
    } table[] = {
        {0x1p53 - 1, 0, VERDICT_PASS}, {0x1p53, 0, VERDICT_FAULT},    {-0x1p53, 0, VERDICT_FAULT},
        {9007199, 9, VERDICT_PASS},    {9007200, 9, VERDICT_FAULT},   {1e300, 9, VERDICT_FAULT},
        {INFINITY, 2, VERDICT_FAULT},  {-INFINITY, 2, VERDICT_FAULT}, {NAN, 2, VERDICT_FAULT},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct output o = fp64(OUT_SCORES, 1, 1, &table[i].v);
        assert_int_equal(run(table[i].digits, &o).kind, table[i].kind);
    }
    static const char text[] = "\4\0\0\0"
                               "0.25";
    struct output o = fp64(OUT_SCORES, 1, 1, NULL); /* BYTES that are no ranking: no numbers */
    o.tensor.dtype = DTYPE_BYTES;
    o.tensor.data = bytes_of(text, 8);
    assert_int_equal(run(2, &o).kind, VERDICT_FAULT);
}

static void only_numbers_are_touched(void **unused) {
    (void)unused;
    static const double v = 0.123;
    for (int kind = OUT_SCORES; kind <= OUT_OPAQUE; kind++) {
        struct output o = fp64((enum output_kind)kind, 1, 1, &v);
        bool touched =
            kind == OUT_SCORES || kind == OUT_LOGITS || kind == OUT_VALUE || kind == OUT_EMBEDDING;
        assert_int_equal(run(2, &o).kind, VERDICT_PASS);
        assert_int_equal(o.changed, touched);
    }
    struct output dropped = fp64(OUT_SCORES, 1, 1, &v);
    dropped.dropped = true;
    run(2, &dropped);
    assert_false(dropped.changed);
    struct output empty = fp64(OUT_SCORES, 0, 5, &v);
    assert_int_equal(run(2, &empty).kind, VERDICT_PASS);
    assert_false(empty.changed);
}

static void integers_and_coarser_grids_stay(void **unused) {
    (void)unused;
    static const unsigned char bytes[4] = {0, 1, 254, 255};
    static const double values[] = {0.1, 0.25};
    struct output o = {.tensor = {.dtype = DTYPE_UINT8, .elements = 4, .data = bytes_of(bytes, 4)},
                       .kind = OUT_SCORES,
                       .rows = 1,
                       .cols = 4,
                       .grid_digits = -1};
    assert_int_equal(run(0, &o).kind, VERDICT_PASS);
    assert_false(o.changed);
    struct output coarse = fp64(OUT_SCORES, 1, 1, values);
    coarse.grid_digits = 1;
    run(2, &coarse);
    assert_int_equal(coarse.grid_digits, 1);
    struct output fine = fp64(OUT_SCORES, 1, 2, values);
    fine.grid_digits = 3;
    run(1, &fine);
    assert_int_equal(fine.grid_digits, 1);
    assert_true(fine.values[1] == 0.2);
}

/* 0.304 and 0.296 both become 0.3: their order must not tell which was which. */
static void rankings_forget_the_finer_order(void **unused) {
    (void)unused;
    double values[] = {0.304, 0.296, 0.2, 0.201, /* row 2 */ 0.9, 0.05, 0.049, 0.0};
    struct output_class classes[] = {{7, {"h", 1}}, {2, {"c", 1}}, {5, {"f", 1}}, {1, {"b", 1}},
                                     {3, {"d", 1}}, {9, {"j", 1}}, {4, {"e", 1}}, {0, {"a", 1}}};
    static const uint32_t expected[] = {2, 7, 1, 5, 3, 4, 9, 0};
    struct output o = {.tensor = {.dtype = DTYPE_BYTES},
                       .kind = OUT_SCORES,
                       .rows = 2,
                       .cols = 4,
                       .classes = classes,
                       .values = values,
                       .grid_digits = -1};
    assert_int_equal(run(2, &o).kind, VERDICT_PASS);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(classes[i].index, expected[i]);
        assert_int_equal(classes[i].label.at[0], 'a' + (int)expected[i]);
    }
    assert_true(values[0] == 0.3 && values[1] == 0.3 && values[3] == 0.2 && values[5] == 0.05);
}

static void rows_are_not_renormalised(void **unused) {
    (void)unused;
    static const double thirds[] = {1.0 / 3, 1.0 / 3, 1.0 / 3};
    struct output o = fp64(OUT_SCORES, 1, 3, thirds);
    run(2, &o);
    for (int i = 0; i < 3; i++)
        assert_true(o.values[i] == 0.33);
}

static void explain_says(void **unused) {
    (void)unused;
    struct conf conf = {2};
    struct buf out;
    buf_init(&out, KIB(4));
    explain(&conf, &out);
    buf_add_char(&out, '\0');
    assert_non_null(strstr(out.at, "at most 6.66 bits (101 values)"));
    buf_free(&out);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(known_values),
        TEST(agrees_with_printf),
        TEST(what_cannot_be_rounded_is_a_fault),
        TEST(only_numbers_are_touched),
        TEST(integers_and_coarser_grids_stay),
        TEST(rankings_forget_the_finer_order),
        TEST(rows_are_not_renormalised),
        TEST(explain_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
