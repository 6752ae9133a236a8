#include "../../filters/value.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "noise_harness.h"

static const double question[] = {1, 2, 3};

static struct verdict answer(const struct conf *conf, struct bench *b, struct output *o) {
    struct predictions p = {.outputs = o, .count = 1};
    b->call.conf = conf;
    return on_answer(&b->call, &p);
}

static void contradictions_are_refused(void **unused) {
    (void)unused;
    static const struct {
        struct conf conf;
        const char *option, *text;
    } table[] = {
        {{.noise = {.epsilon = 1}}, "range", "needs a 'range'"},
        {{.range = {3, 2}}, "range", "above"},
        {{.after = AFTER_CLIP}, "range", "to clip to"},
        {{.noise = {.epsilon = 1, .scale = 1}, .range = {0, 1}}, "scale", "either"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct conf conf = table[i].conf;
        struct conf_error error = {NULL, ""};
        assert_false(check(&conf, &error));
        assert_string_equal(error.option, table[i].option);
        assert_non_null(strstr(error.text, table[i].text));
    }
    struct conf grid_only = {.noise = {.grid = 2}};
    struct conf_error error;
    assert_true(check(&grid_only, &error));
}

static void grid_and_range_without_noise(void **unused) {
    (void)unused;
    static const double values[] = {0.3, -7, 1e9, 0.125, 0.375};
    static const double expected[] = {0.25, -1, 5, 0, 0.5}; /* halves go to even */
    struct conf conf = {.noise = {.grid = 2, .sticky = {.on = true}}, .range = {-1, 5}};
    struct bench b;
    bench_open(&b, &conf);
    struct output o = bench_output(OUT_VALUE, DTYPE_FP64, 5, 1, values, b.arena);
    assert_int_equal(answer(&conf, &b, &o).kind, VERDICT_PASS);
    assert_memory_equal(o.values, expected, sizeof(expected));
    assert_int_equal(o.grid_digits, 2);
    bench_close(&b);
}

static void noise_is_as_wide_as_the_range(void **unused) {
    (void)unused;
    struct conf conf = {.noise = {.epsilon = 2, .grid = 8, .sticky = {.on = true}},
                        .range = {10, 30}};
    struct bench b;
    double sum = 0, size = 0, n = 4000;
    bench_open(&b, &conf);
    for (int i = 0; i < (int)n; i++) {
        double q = i, v = 25;
        b.query.input_count = 0;
        bench_input(&b, "x", &q, 1, 1);
        struct output o = bench_output(OUT_VALUE, DTYPE_FP64, 1, 1, &v, b.arena);
        assert_int_equal(answer(&conf, &b, &o).kind, VERDICT_PASS);
        sum += o.values[0] - 25;
        size += fabs(o.values[0] - 25);
    }
    assert_true(fabs(size / n / 10 - 1) < 5 / sqrt(n)); /* E|x| = b = 20 / 2, and its deviation */
    assert_true(fabs(sum / n) < 5 * 10 * sqrt(2 / n));
    bench_close(&b);
}

static void repeats_and_batches(void **unused) {
    (void)unused;
    static const double values[] = {11, 12, 13};
    struct conf conf = {.noise = {.scale = 1, .grid = 8, .sticky = {.on = true}}};
    struct bench b;
    bench_open(&b, &conf);
    bench_input(&b, "x", question, 3, 1);
    struct output batch = bench_output(OUT_VALUE, DTYPE_FP64, 3, 1, values, b.arena);
    assert_int_equal(answer(&conf, &b, &batch).kind, VERDICT_PASS);
    for (int r = 0; r < 3; r++) {
        b.query.input_count = 0;
        bench_input(&b, "x", question + r, 1, 1);
        struct output one = bench_output(OUT_VALUE, DTYPE_FP64, 1, 1, values + r, b.arena);
        assert_int_equal(answer(&conf, &b, &one).kind, VERDICT_PASS);
        assert_true(one.values[0] == batch.values[r]);
        assert_true(one.values[0] != values[r]);
    }
    bench_close(&b);
}

static void clipped_again_after(void **unused) {
    (void)unused;
    struct conf conf = {.noise = {.scale = 5, .grid = 4, .sticky = {.on = true}},
                        .range = {0, 1},
                        .after = AFTER_CLIP};
    struct bench b;
    int ends = 0;
    bench_open(&b, &conf);
    for (int i = 0; i < 200; i++) {
        double q = i, v = 0.5;
        b.query.input_count = 0;
        bench_input(&b, "x", &q, 1, 1);
        struct output o = bench_output(OUT_VALUE, DTYPE_FP32, 1, 1, &v, b.arena);
        assert_int_equal(answer(&conf, &b, &o).kind, VERDICT_PASS);
        assert_true(o.values[0] >= 0 && o.values[0] <= 1);
        ends += o.values[0] == 0 || o.values[0] == 1;
    }
    assert_true(ends > 100);
    bench_close(&b);
}

static void what_is_refused_and_left_alone(void **unused) {
    (void)unused;
    static const double bad[] = {NAN, INFINITY, 1e300};
    struct conf conf = {.noise = {.scale = 1, .grid = 8, .sticky = {.on = true}}};
    struct bench b;
    double v = 0.5;
    bench_open(&b, &conf);
    bench_input(&b, "x", question, 1, 1);
    for (int i = 0; i < 3; i++) {
        struct output o = bench_output(OUT_VALUE, DTYPE_FP64, 1, 1, &bad[i], b.arena);
        assert_int_equal(answer(&conf, &b, &o).kind, VERDICT_FAULT);
    }
    for (int kind = OUT_SCORES; kind <= OUT_OPAQUE; kind++) {
        struct output o = bench_output((enum output_kind)kind, DTYPE_FP64, 1, 1, &v, b.arena);
        assert_int_equal(answer(&conf, &b, &o).kind, VERDICT_PASS);
        assert_int_equal(o.changed, kind == OUT_VALUE);
    }
    bench_close(&b);
}

/* A value in full gets less digits than its noise: an integer stays one. */
static void integers_stay_integers(void **unused) {
    (void)unused;
    struct conf conf = {.noise = {.scale = 3, .grid = 8, .sticky = {.on = true}}};
    struct bench b;
    double v = 40;
    bench_open(&b, &conf);
    bench_input(&b, "x", question, 1, 1);
    struct output o = bench_output(OUT_VALUE, DTYPE_UINT8, 1, 1, &v, b.arena);
    assert_int_equal(answer(&conf, &b, &o).kind, VERDICT_PASS);
    assert_true(o.values[0] == rint(o.values[0]) && o.values[0] >= 0 && o.values[0] <= 255);
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(grid_and_range_without_noise),
        cmocka_unit_test(noise_is_as_wide_as_the_range),
        cmocka_unit_test(repeats_and_batches),
        cmocka_unit_test(clipped_again_after),
        cmocka_unit_test(what_is_refused_and_left_alone),
        cmocka_unit_test(integers_stay_integers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
