#include "../../filters/noise.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "noise_harness.h"

static const double inputs[] = {0.5, 1.5, -2, 7, 3, 3, 3, 3, 0.25, 0, 0, 1};

static struct conf laplace_conf(double epsilon) {
    return (struct conf){
        .noise = {
            .mechanism = DISCRETE_LAPLACE, .epsilon = epsilon, .grid = 8, .sticky = {.on = true}}};
}

static struct conf scale_conf(double scale) {
    struct conf conf = laplace_conf(0);
    conf.noise.scale = scale;
    return conf;
}

static void ready(struct conf *conf) {
    struct conf_error error = {NULL, ""};
    if (!check(conf, &error))
        fail_msg("%s", error.text);
}

static struct verdict answer(struct bench *b, struct output *o) {
    struct predictions p = {.outputs = o, .count = 1, .version = BYTES_LITERAL("1")};
    return on_answer(&b->call, &p);
}

/* One row of values through the filter; what the input was is `question`. */
static const double *released(struct bench *b, const double *question, uint32_t width,
                              const double *values, uint32_t cols) {
    b->query.input_count = 0;
    bench_input(b, "x", question, 1, width);
    struct output o = bench_output(OUT_SCORES, DTYPE_FP64, 1, cols, values, b->arena);
    assert_int_equal(answer(b, &o).kind, VERDICT_PASS);
    assert_true(o.changed);
    return o.values;
}

/* ---- Configuration ---- */

static void contradictions_are_refused(void **unused) {
    (void)unused;
    static const struct {
        struct conf conf;
        const char *option, *text;
    } table[] = {
        {{.noise = {.scale = 0}}, NULL, "give either"},
        {{.noise = {.scale = 1, .epsilon = 1}}, "scale", "give either"},
        {{.noise = {.mechanism = DISCRETE_GAUSSIAN, .epsilon = 1}}, "mechanism", "delta"},
        {{.noise = {.epsilon = 1, .delta = 1e-6}}, "delta", "only"},
        {{.noise = {.mechanism = DISCRETE_GAUSSIAN, .scale = 1, .delta = 1e-6}}, "delta", "only"},
        {{.noise = {.scale = 1, .sticky = {.bucket = 1}}}, "bucket", "sticky"},
        {{.noise = {.epsilon = 1}, .keep_top1 = true}, "keep_top1", "not differentially private"},
        {{.noise = {.scale = 1}, .range = {2, 1}}, "range", "above"},
        {{.noise = {.mechanism = DISCRETE_GAUSSIAN, .scale = 1e6, .grid = 15}}, "scale", "grid"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct conf conf = table[i].conf;
        struct conf_error error = {NULL, ""};
        assert_false(check(&conf, &error));
        if (strstr(error.text, table[i].text) == NULL)
            fail_msg("row %u: %s", (unsigned)i, error.text);
        if (table[i].option == NULL)
            assert_null(error.option);
        else
            assert_string_equal(error.option, table[i].option);
    }
}

static void widths_follow_the_promise(void **unused) {
    (void)unused;
    struct distribution d;
    struct conf conf = laplace_conf(1);
    struct sensitivity s = sensitivity_of(&conf, 10);
    assert_true(s.l1 == 512 && s.l2_squared == 2 * 256 * 256);
    assert_true(additive_distribution(&conf.noise, &s, &d));
    assert_true(d.parameter.num == 512 && d.parameter.den == 1);
    conf.range = (struct range){-3, 5};
    s = sensitivity_of(&conf, 10);
    assert_true(s.l1 == 10 * 8 * 256 && s.l2_squared == (wide)10 * 2048 * 2048);
    conf = laplace_conf(0);
    conf.noise.mechanism = DISCRETE_GAUSSIAN;
    conf.noise.epsilon = 1;
    conf.noise.delta = 1e-5;
    ready(&conf);
    s = sensitivity_of(&conf, 10);
    assert_true(additive_distribution(&conf.noise, &s, &d));
    double sigma = sqrt((double)d.parameter.num / (double)d.parameter.den);
    assert_true(fabs(sigma / (4.045130358292444 * 256 * sqrt(2)) - 1) < 1e-6);
    conf.noise.calibration = 1;
    ready(&conf);
    assert_true(additive_distribution(&conf.noise, &s, &d));
    sigma = sqrt((double)d.parameter.num / (double)d.parameter.den);
    assert_true(fabs(sigma / (3.7306316348159436 * 256 * sqrt(2)) - 1) < 1e-6);
}

/* ---- What is released ---- */

static void everything_is_on_the_grid(void **unused) {
    (void)unused;
    static const double scores[] = {0.7, 0.2999999, 1e-7};
    for (int mechanism = 0; mechanism < 2; mechanism++)
        for (uint64_t grid = 0; grid <= ADDITIVE_GRID_MAX; grid += 5) {
            struct conf conf = scale_conf(0.1);
            conf.noise.mechanism = mechanism;
            conf.noise.grid = grid;
            struct bench b;
            ready(&conf);
            bench_open(&b, &conf);
            for (int i = 0; i < 200; i++) {
                double question = i;
                const double *v = released(&b, &question, 1, scores, 3);
                for (int c = 0; c < 3; c++)
                    assert_true(ldexp(v[c], (int)grid) == rint(ldexp(v[c], (int)grid)));
            }
            bench_close(&b);
        }
}

/* Mironov's attack looks for outputs that only one of two inputs can give.  Here the noise is the
 * difference of integers, so for the same bits neighbours differ by exactly their difference. */
static void neighbours_have_the_same_support(void **unused) {
    (void)unused;
    static const double a[] = {0.6, 0.4}, b2[] = {0.1, 0.9};
    struct conf conf = laplace_conf(1);
    struct bench b;
    ready(&conf);
    bench_open(&b, &conf);
    for (int i = 0; i < 300; i++) {
        double question = i;
        const double *one = released(&b, &question, 1, a, 2);
        const double *other = released(&b, &question, 1, b2, 2);
        assert_true(one[0] - other[0] == (154 - 26) / 256.0); /* 153.6 and 25.6 */
        assert_true(one[1] - other[1] == (102 - 230) / 256.0);
    }
    bench_close(&b);
}

static void noise_fits_its_distribution(void **unused) {
    (void)unused;
    enum { BINS = 121, ROWS = 20000 };
    const struct distribution claimed[] = {{DISCRETE_LAPLACE, {256, 10}},
                                           {DISCRETE_GAUSSIAN, {65536, 100}}};
    static const double zero[4];
    for (int fresh = 0; fresh < 2; fresh++)
        for (int mechanism = 0; mechanism < 2; mechanism++) {
            struct conf conf = scale_conf(0.1);
            struct bench b;
            uint64_t seen[BINS] = {0};
            long double p[BINS] = {0}, sum = 0;
            int freedom;
            conf.noise.mechanism = mechanism;
            conf.noise.sticky.on = !fresh;
            ready(&conf);
            bench_open(&b, &conf);
            for (int i = 0; i < ROWS; i++) {
                double question = i;
                const double *v = released(&b, &question, 1, zero, 4);
                for (int c = 0; c < 4; c++) {
                    int x = (int)(v[c] * 256);
                    seen[(x < -60 ? -60 : x > 60 ? 60 : x) + 60]++;
                }
                arena_reset(b.arena);
            }
            for (int x = -3000; x <= 3000; x++) {
                struct ratio r = claimed[mechanism].parameter;
                long double q = (long double)r.num / r.den;
                long double w = mechanism == 0 ? expl(-fabsl((long double)x) / q)
                                               : expl(-(long double)x * x / (2 * q));
                p[(x < -60 ? -60 : x > 60 ? 60 : x) + 60] += w;
                sum += w;
            }
            for (int i = 0; i < BINS; i++)
                p[i] /= sum;
            double x = chi_square(seen, p, BINS, 4 * ROWS, &freedom);
            if (x > chi_square_limit(freedom))
                fail_msg("mechanism %d, fresh %d: %g with %d degrees", mechanism, fresh, x,
                         freedom);
            bench_close(&b);
        }
}

static void rows_are_brought_in_first(void **unused) {
    (void)unused;
    struct conf conf = laplace_conf(1);
    int64_t units[4] = {300, 300, 0, -5};
    bring_in(&conf, units, 4);
    assert_true(units[0] == 128 && units[1] == 128 && units[2] == 0 && units[3] == 0);
    int64_t fine[3] = {100, 100, 56};
    bring_in(&conf, fine, 3);
    assert_true(fine[0] == 100 && fine[1] == 100 && fine[2] == 56);
    conf.range = (struct range){-1, 1};
    int64_t wide_ones[3] = {-1000, 1000, 17};
    bring_in(&conf, wide_ones, 3);
    assert_true(wide_ones[0] == -256 && wide_ones[1] == 256 && wide_ones[2] == 17);
    struct conf plain = scale_conf(1);
    int64_t any[2] = {-1000, 1000};
    bring_in(&plain, any, 2);
    assert_true(any[0] == -1000 && any[1] == 1000);
}

/* Whatever the upstream sends, two rows are no further apart than the sensitivity. */
static void sensitivity_holds_for_any_answer(void **unused) {
    (void)unused;
    struct conf conf = laplace_conf(1);
    uint64_t seed = 3;
    for (int i = 0; i < 20000; i++) {
        int64_t rows[2][5];
        struct sensitivity s;
        conf.range = i % 2 ? (struct range){-2, 3} : (struct range){0, 0};
        s = sensitivity_of(&conf, 5);
        wide l1 = 0, l2 = 0;
        for (int r = 0; r < 2; r++) {
            for (int c = 0; c < 5; c++)
                rows[r][c] = (int64_t)(splitmix(&seed) % 3000) - 1000;
            bring_in(&conf, rows[r], 5);
        }
        for (int c = 0; c < 5; c++) {
            int64_t d = llabs(rows[0][c] - rows[1][c]);
            l1 += (wide)d;
            l2 += (wide)(d * d);
        }
        assert_true(l1 <= s.l1 && l2 <= s.l2_squared);
    }
}

/* ---- Sticky ---- */

static const double three[] = {0.5, 0.25, 0.25};

static void repeats_get_one_answer(void **unused) {
    (void)unused;
    struct conf conf = laplace_conf(1);
    struct bench b, other;
    ready(&conf);
    bench_open(&b, &conf);
    bench_open(&other, &conf); /* another gate with the same key */
    const double *first = released(&b, inputs, 4, three, 3);
    for (int i = 0; i < 100; i++)
        assert_memory_equal(released(&b, inputs, 4, three, 3), first, 3 * sizeof(double));
    assert_memory_equal(released(&other, inputs, 4, three, 3), first, 3 * sizeof(double));
    assert_memory_not_equal(released(&b, inputs + 4, 4, three, 3), first, 3 * sizeof(double));
    keyed_source_init(&other.source, other.stream, BYTES_LITERAL("another key of 16 bytes"));
    assert_memory_not_equal(released(&other, inputs, 4, three, 3), first, 3 * sizeof(double));
    bench_close(&b);
    bench_close(&other);
}

static void without_sticky_repeats_average_out(void **unused) {
    (void)unused;
    struct conf conf = scale_conf(0.5);
    struct bench b;
    double sum = 0, n = 4000;
    conf.noise.sticky.on = false;
    ready(&conf);
    bench_open(&b, &conf);
    for (int i = 0; i < (int)n; i++)
        sum += released(&b, inputs, 4, three, 3)[0];
    assert_true(fabs(sum / n - 0.5) < 5 * 0.5 * sqrt(2 / n));
    bench_close(&b);
}

static void a_batch_is_its_rows(void **unused) {
    (void)unused;
    static const double scores[] = {0.5, 0.5, 0.1, 0.9, 1, 0};
    struct conf conf = laplace_conf(1);
    struct bench b;
    ready(&conf);
    bench_open(&b, &conf);
    bench_input(&b, "x", inputs, 3, 4);
    struct output all = bench_output(OUT_SCORES, DTYPE_FP64, 3, 2, scores, b.arena);
    assert_int_equal(answer(&b, &all).kind, VERDICT_PASS);
    for (int r = 0; r < 3; r++)
        assert_memory_equal(released(&b, inputs + 4 * r, 4, scores + 2 * r, 2), all.values + 2 * r,
                            2 * sizeof(double));
    bench_close(&b);
}

/* Two inputs, one shared by the batch; equal rows, wherever they stand, are one question. */
static void shared_inputs_and_equal_rows(void **unused) {
    (void)unused;
    static const double same[] = {1, 2, 1, 2}, scores[] = {0.5, 0.5, 0.5, 0.5};
    struct conf conf = laplace_conf(1);
    struct bench b;
    ready(&conf);
    bench_open(&b, &conf);
    double t = 0.7;
    bench_input(&b, "temperature", &t, 1, 1);
    b.inputs[0].rank = 0;
    bench_input(&b, "x", same, 2, 2);
    struct output batch = bench_output(OUT_SCORES, DTYPE_FP64, 2, 2, scores, b.arena);
    assert_int_equal(answer(&b, &batch).kind, VERDICT_PASS);
    assert_memory_equal(batch.values, batch.values + 2, 2 * sizeof(double));
    b.query.input_count = 0; /* alone, and in the other order */
    bench_input(&b, "x", same, 1, 2);
    bench_input(&b, "temperature", &t, 1, 1);
    struct output single = bench_output(OUT_SCORES, DTYPE_FP64, 1, 2, scores, b.arena);
    assert_int_equal(answer(&b, &single).kind, VERDICT_PASS);
    assert_memory_equal(single.values, batch.values, 2 * sizeof(double));
    t = 0.8;
    struct output warmer = bench_output(OUT_SCORES, DTYPE_FP64, 1, 2, scores, b.arena);
    assert_int_equal(answer(&b, &warmer).kind, VERDICT_PASS);
    assert_memory_not_equal(warmer.values, batch.values, 2 * sizeof(double));
    bench_close(&b);
}

static void what_makes_another_draw(void **unused) {
    (void)unused;
    struct conf conf = laplace_conf(1), wider = laplace_conf(0.5), bucketed = laplace_conf(1);
    struct bench b;
    ready(&conf);
    ready(&wider);
    bucketed.noise.sticky.bucket = 1e-9;
    ready(&bucketed);
    bench_open(&b, &conf);
    bench_input(&b, "x", inputs, 1, 4);
    struct output o[6];
    for (int i = 0; i < 6; i++)
        o[i] = bench_output(OUT_SCORES, DTYPE_FP64, 1, 3, three, b.arena);
    assert_int_equal(answer(&b, &o[0]).kind, VERDICT_PASS);
    o[1].tensor.name = BYTES_LITERAL("other");
    assert_int_equal(answer(&b, &o[1]).kind, VERDICT_PASS);
    b.call.model_name = BYTES_LITERAL("n");
    assert_int_equal(answer(&b, &o[2]).kind, VERDICT_PASS);
    b.call.model_name = BYTES_LITERAL("m");
    struct predictions p = {.outputs = &o[3], .count = 1, .version = BYTES_LITERAL("2")};
    assert_int_equal(on_answer(&b.call, &p).kind, VERDICT_PASS);
    b.call.conf = &wider; /* not the same noise, stretched */
    assert_int_equal(answer(&b, &o[4]).kind, VERDICT_PASS);
    b.call.conf = &bucketed;
    assert_int_equal(answer(&b, &o[5]).kind, VERDICT_PASS);
    for (int i = 1; i < 6; i++)
        assert_memory_not_equal(o[i].values, o[0].values, 3 * sizeof(double));
    double ratio[3];
    for (int c = 0; c < 3; c++)
        ratio[c] = (o[4].values[c] - three[c]) / (o[0].values[c] - three[c]);
    assert_true(fabs(ratio[0] - ratio[1]) > 0.1 || fabs(ratio[1] - ratio[2]) > 0.1);
    bench_close(&b);
}

/* Two distributions never share a context, two buckets neither. */
static void contexts_tell_all_parameters_apart(void **unused) {
    (void)unused;
    static const double zero[] = {0, 0};
    const struct distribution from[] = {{DISCRETE_LAPLACE, {5, 2}},
                                        {DISCRETE_LAPLACE, {7, 2}},
                                        {DISCRETE_LAPLACE, {5, 3}},
                                        {DISCRETE_GAUSSIAN, {5, 2}}};
    struct conf conf = laplace_conf(1), tenth = conf, fifth = conf;
    struct predictions p = {.count = 0};
    struct additive a[5];
    struct bench b;
    tenth.noise.sticky.bucket = 0.1;
    fifth.noise.sticky.bucket = 0.2;
    bench_open(&b, &conf);
    for (int i = 0; i < 5; i++)
        assert_true(additive_begin(&a[i], &b.call, &conf.noise, &from[i % 4], &p,
                                   i < 4 ? "noise" : "value"));
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < i; k++)
            assert_false(bytes_eq(a[i].sticky.what, a[k].sticky.what));
    for (int i = 0; i < 5; i++)
        additive_end(&a[i]);
    b.call.conf = &tenth;
    const double *first = released(&b, zero, 2, three, 3);
    b.call.conf = &fifth;
    assert_memory_not_equal(released(&b, zero, 2, three, 3), first, 3 * sizeof(double));
    bench_close(&b);
}

/* Outputs of rank 3: several rows for one question, each with noise of its own, alone or not. */
static void rows_of_one_question(void **unused) {
    (void)unused;
    static const double scores[12], in[] = {1, 2};
    struct conf conf = laplace_conf(1);
    struct bench b;
    bench_open(&b, &conf);
    bench_input(&b, "x", in, 2, 1);
    struct output batch = bench_output(OUT_SCORES, DTYPE_FP64, 6, 2, scores, b.arena);
    assert_int_equal(answer(&b, &batch).kind, VERDICT_PASS);
    b.query.input_count = 0;
    bench_input(&b, "x", in + 1, 1, 1);
    struct output alone = bench_output(OUT_SCORES, DTYPE_FP64, 3, 2, scores, b.arena);
    assert_int_equal(answer(&b, &alone).kind, VERDICT_PASS);
    assert_memory_equal(alone.values, batch.values + 6, 6 * sizeof(double));
    assert_memory_not_equal(alone.values, alone.values + 2, 2 * sizeof(double));
    assert_memory_not_equal(alone.values, alone.values + 4, 2 * sizeof(double));
    bench_close(&b);
}

static void inputs_are_known_by_name(void **unused) {
    (void)unused;
    struct conf conf = laplace_conf(1);
    struct bench b;
    struct output o[2];
    double one = 1, two = 2;
    bench_open(&b, &conf);
    for (int i = 0; i < 2; i++) {
        b.query.input_count = 0;
        bench_input(&b, "x", i == 0 ? &one : &two, 1, 1);
        bench_input(&b, "y", i == 0 ? &two : &one, 1, 1);
        b.inputs[0].name = i == 0 ? BYTES_LITERAL("x") : BYTES_LITERAL("z");
        b.inputs[1].name = i == 0 ? BYTES_LITERAL("y") : BYTES_LITERAL("x");
        o[i] = bench_output(OUT_SCORES, DTYPE_FP64, 1, 3, three, b.arena);
        assert_int_equal(answer(&b, &o[i]).kind, VERDICT_PASS);
    }
    assert_memory_not_equal(o[0].values, o[1].values, 3 * sizeof(double)); /* x=1 y=2; x=1 z=2 */
    bench_close(&b);
}

static void what_does_not(void **unused) {
    (void)unused;
    static const double whole[] = {1, 0, 3, 255}, negative_zero[] = {1, -0.0, 3, 255};
    static const float single[] = {1, 0, 3, 255};
    static const uint8_t small[] = {1, 0, 3, 255};
    struct conf conf = laplace_conf(1);
    struct bench b;
    ready(&conf);
    bench_open(&b, &conf);
    const double *first = released(&b, whole, 4, three, 3);
    assert_memory_equal(released(&b, negative_zero, 4, three, 3), first, 3 * sizeof(double));
    const struct tensor others[] = {
        {.dtype = DTYPE_FP32, .rank = 2, .shape = {1, 4}, .data = bytes_of(single, 16)},
        {.dtype = DTYPE_UINT8, .rank = 1, .shape = {4}, .data = bytes_of(small, 4)},
        {.dtype = DTYPE_FP64, .rank = 3, .shape = {1, 1, 4}, .data = bytes_of(whole, 32)},
        {.dtype = DTYPE_FP64, .rank = 3, .shape = {1, 2, 2}, .data = bytes_of(whole, 32)},
        {.dtype = DTYPE_FP64, .rank = 2, .shape = {4, 1}, .data = bytes_of(whole, 32)},
    };
    for (int i = 0; i < 5; i++) {
        b.inputs[0] = others[i];
        b.inputs[0].name = BYTES_LITERAL("x");
        b.inputs[0].elements = 4;
        struct output o = bench_output(OUT_SCORES, DTYPE_FP64, 1, 3, three, b.arena);
        assert_int_equal(answer(&b, &o).kind, VERDICT_PASS);
        if (i < 3)
            assert_memory_equal(o.values, first, 3 * sizeof(double));
        else
            assert_memory_not_equal(o.values, first, 3 * sizeof(double));
    }
    bench_close(&b);
}

/* What the upstream may answer differently must not share noise: the difference would be exact. */
static void other_questions_have_other_noise(void **unused) {
    (void)unused;
    static const uint64_t far[][2] = {{1ull << 53, 7},
                                      {(1ull << 53) + 1, 7},
                                      {-(1ull << 53), 7},
                                      {-(1ull << 53) - 1, 7},
                                      {7, (1ull << 53) + 1}};
    struct conf conf = laplace_conf(1);
    struct bench b;
    const double *seen[7];
    ready(&conf);
    bench_open(&b, &conf);
    for (int i = 0; i < 7; i++) {
        b.query.input_count = 1;
        b.inputs[0] = (struct tensor){.name = BYTES_LITERAL("x"),
                                      .dtype = DTYPE_INT64,
                                      .rank = 1,
                                      .shape = {2},
                                      .elements = 2,
                                      .data = bytes_of(far[i < 5 ? i : 0], 16)};
        if (i == 5)
            b.inputs[0].form = BYTES_LITERAL("np");
        b.call.draws.hi = i == 6;
        struct output o = bench_output(OUT_SCORES, DTYPE_FP64, 1, 3, three, b.arena);
        assert_int_equal(answer(&b, &o).kind, VERDICT_PASS);
        seen[i] = o.values;
        for (int k = 0; k < i; k++)
            assert_memory_not_equal(seen[i], seen[k], 3 * sizeof(double));
    }
    b.query.in_sequence = true;
    assert_int_equal(on_query(&b.call).status, 403);
    conf.noise.sticky.on = false;
    assert_int_equal(on_query(&b.call).kind, VERDICT_PASS);
    bench_close(&b);
}

static void buckets_swallow_jitter(void **unused) {
    (void)unused;
    static const double at[] = {1.0, 2.0}, near[] = {1.02, 1.98}, far[] = {1.06, 2.0};
    struct conf conf = laplace_conf(1);
    struct bench b;
    conf.noise.sticky.bucket = 0.1;
    ready(&conf);
    bench_open(&b, &conf);
    const double *first = released(&b, at, 2, three, 3);
    assert_memory_equal(released(&b, near, 2, three, 3), first, 3 * sizeof(double));
    assert_memory_not_equal(released(&b, far, 2, three, 3), first, 3 * sizeof(double));
    bench_close(&b);
}

static void strings_are_questions_too(void **unused) {
    (void)unused;
    static const char two[] = "\3\0\0\0abc\2\0\0\0xy", one[] = "\2\0\0\0xy";
    static const double scores[] = {0.5, 0.5, 0.5, 0.5};
    struct conf conf = laplace_conf(1);
    struct bench b;
    ready(&conf);
    bench_open(&b, &conf);
    b.query = (struct query){.inputs = b.inputs, .input_count = 1, .rows = 2};
    b.inputs[0] = (struct tensor){.name = BYTES_LITERAL("x"),
                                  .dtype = DTYPE_BYTES,
                                  .rank = 2,
                                  .shape = {2, 1},
                                  .elements = 2,
                                  .data = bytes_of(two, 13)};
    struct output batch = bench_output(OUT_SCORES, DTYPE_FP64, 2, 2, scores, b.arena);
    assert_int_equal(answer(&b, &batch).kind, VERDICT_PASS);
    b.query.rows = 1;
    b.inputs[0].shape[0] = b.inputs[0].elements = 1;
    b.inputs[0].data = bytes_of(one, 6);
    struct output single = bench_output(OUT_SCORES, DTYPE_FP64, 1, 2, scores, b.arena);
    assert_int_equal(answer(&b, &single).kind, VERDICT_PASS);
    assert_memory_equal(single.values, batch.values + 2, 2 * sizeof(double));
    assert_memory_not_equal(batch.values, batch.values + 2, 2 * sizeof(double));
    bench_close(&b);
}

/* A class has the same noise in the tensor and in a ranking, whatever K the client asks for. */
static void rankings_have_the_tensors_noise(void **unused) {
    (void)unused;
    static const double scores[] = {0.1, 0.2, 0.7};
    struct conf conf = scale_conf(0.3);
    struct bench b;
    ready(&conf);
    bench_open(&b, &conf);
    const double *plain = released(&b, inputs, 4, scores, 3);
    double values[] = {0.7, 0.2};
    struct output_class classes[] = {{2, {"c", 1}}, {1, {"b", 1}}};
    struct output o = {.tensor = {.name = BYTES_LITERAL("out"), .dtype = DTYPE_BYTES},
                       .kind = OUT_SCORES,
                       .rows = 1,
                       .cols = 2,
                       .classes = classes,
                       .values = values,
                       .grid_digits = -1};
    assert_int_equal(answer(&b, &o).kind, VERDICT_PASS);
    for (int i = 0; i < 2; i++) {
        assert_true(o.values[i] == plain[o.classes[i].index]);
        assert_int_equal(o.classes[i].label.at[0], 'a' + (int)o.classes[i].index);
    }
    assert_true(o.values[0] >= o.values[1]);
    bench_close(&b);
}

/* ---- After the noise ---- */

static void projection_is_the_nearest(void **unused) {
    (void)unused;
    uint64_t seed = 11;
    for (int i = 0; i < 5000; i++) {
        int64_t units[6], before[6], sum = 0;
        uint32_t cols = 1 + (uint32_t)(splitmix(&seed) % 6);
        struct entry row[6];
        for (uint32_t c = 0; c < cols; c++)
            before[c] = units[c] = (int64_t)(splitmix(&seed) % 2000) - 1000;
        project(row, units, NULL, cols, 256);
        int64_t theta = INT64_MIN;
        for (uint32_t c = 0; c < cols; c++) {
            assert_true(units[c] >= 0);
            sum += units[c];
            if (units[c] > 1 && before[c] - units[c] > theta)
                theta = before[c] - units[c];
        }
        assert_int_equal(sum, 256);
        for (uint32_t c = 0; c < cols; c++) { /* optimal but for the grid's last unit */
            if (units[c] > 1)
                assert_true(theta - (before[c] - units[c]) <= 1);
            else
                assert_true(before[c] <= theta + 2);
        }
    }
}

static void what_after_does(void **unused) {
    (void)unused;
    static const double scores[] = {0.2, 0.5, 0.3};
    for (int after = AFTER_CLIP; after <= AFTER_SIMPLEX; after++) {
        struct conf conf = laplace_conf(1);
        struct bench b;
        conf.after = after;
        ready(&conf);
        bench_open(&b, &conf);
        for (int i = 0; i < 300; i++) {
            double question = i, sum = 0;
            const double *v = released(&b, &question, 1, scores, 3);
            for (int c = 0; c < 3; c++) {
                assert_true(v[c] >= 0 && v[c] <= 1);
                sum += v[c];
            }
            if (after == AFTER_SIMPLEX)
                assert_true(sum == 1);
        }
        bench_close(&b);
    }
}

static void keep_top1_keeps_it(void **unused) {
    (void)unused;
    static const double scores[] = {0.3, 0.3, 0.4};
    for (int after = AFTER_NONE; after <= AFTER_SIMPLEX; after++) {
        struct conf conf = scale_conf(1);
        struct bench b;
        conf.keep_top1 = true;
        conf.after = after;
        ready(&conf);
        bench_open(&b, &conf);
        for (int i = 0; i < 300; i++) {
            double question = i;
            const double *v = released(&b, &question, 1, scores, 3);
            assert_true(v[2] > v[0] && v[2] > v[1]);
        }
        bench_close(&b);
    }
}

/* ---- Refusals, kinds, pools ---- */

static void what_is_refused(void **unused) {
    (void)unused;
    static const double good[] = {0.5, 0.5};
    static const double bad[][2] = {{NAN, 0}, {INFINITY, 0}, {0, -INFINITY}, {0x1p60, 0}};
    struct conf conf = laplace_conf(1);
    struct bench b;
    ready(&conf);
    bench_open(&b, &conf);
    bench_input(&b, "x", inputs, 1, 4);
    for (int i = 0; i < 4; i++) {
        struct output o = bench_output(OUT_SCORES, DTYPE_FP64, 1, 2, bad[i], b.arena);
        assert_int_equal(answer(&b, &o).kind, VERDICT_FAULT);
    }
    struct output logits = bench_output(OUT_LOGITS, DTYPE_FP64, 1, 2, good, b.arena);
    assert_int_equal(answer(&b, &logits).kind, VERDICT_FAULT);
    struct output ranking = bench_output(OUT_SCORES, DTYPE_FP64, 1, 2, good, b.arena);
    struct output_class classes[2] = {{0, {"", 0}}, {1, {"", 0}}};
    ranking.classes = classes;
    assert_int_equal(answer(&b, &ranking).kind, VERDICT_FAULT);
    struct wanted_output wanted = {.classification = 2};
    b.query.wanted = &wanted;
    b.query.wanted_count = 1;
    assert_int_equal(on_query(&b.call).status, 403);
    b.query.wanted_count = 0;
    assert_int_equal(on_query(&b.call).kind, VERDICT_PASS);
    b.query.rows = STICKY_ROWS_MAX + 1;
    assert_int_equal(on_query(&b.call).status, 413);
    conf.noise.sticky.on = false;
    assert_int_equal(on_query(&b.call).kind, VERDICT_PASS);
    bench_close(&b);
}

static void only_scores_and_logits_are_touched(void **unused) {
    (void)unused;
    static const double v[] = {0.5};
    struct conf conf = scale_conf(1);
    struct bench b;
    ready(&conf);
    bench_open(&b, &conf);
    bench_input(&b, "x", inputs, 1, 4);
    for (int kind = OUT_SCORES; kind <= OUT_OPAQUE; kind++) {
        struct output o = bench_output((enum output_kind)kind, DTYPE_FP64, 1, 1, v, b.arena);
        assert_int_equal(answer(&b, &o).kind, VERDICT_PASS);
        assert_int_equal(o.changed, kind == OUT_SCORES || kind == OUT_LOGITS);
    }
    bench_close(&b);
}

/* Every form of an answer shows what its datatype holds. */
static void datatypes_hold_what_is_released(void **unused) {
    (void)unused;
    static const double big[] = {70000.3, 9000001.7};
    for (enum dtype type = DTYPE_UINT8; type <= DTYPE_FP64; type++) {
        struct conf conf = scale_conf(3);
        struct bench b;
        ready(&conf);
        bench_open(&b, &conf);
        bench_input(&b, "x", inputs, 1, 4);
        struct output o = bench_output(OUT_LOGITS, type, 1, 2, big, b.arena);
        if (type == DTYPE_FP16) /* infinite as it came */
            assert_int_equal(answer(&b, &o).kind, VERDICT_FAULT);
        else
            assert_int_equal(answer(&b, &o).kind, VERDICT_PASS);
        for (int c = 0; c < 2 && o.changed; c++) {
            char data[8];
            struct tensor t = {.dtype = type, .elements = 1, .data = {data, sizeof(data)}};
            dtype_write(type, o.values[c], data);
            assert_true(tensor_number(&t, 0) == o.values[c]);
        }
        bench_close(&b);
    }
}

static void pools_are_filled_after_the_reply(void **unused) {
    (void)unused;
    static double scores[1000];
    struct conf conf = scale_conf(1);
    struct bench b;
    conf.noise.sticky.on = false;
    ready(&conf);
    bench_open(&b, &conf);
    bench_input(&b, "x", inputs, 1, 4);
    struct output o = bench_output(OUT_SCORES, DTYPE_FP64, 1, 1000, scores, b.arena);
    assert_int_equal(answer(&b, &o).kind, VERDICT_PASS);
    additive_close(&b.call);
    struct pool *pool = b.pools.at[0];
    assert_non_null(pool);
    uint32_t held_now = pool->count;
    assert_true(held_now > 1000);
    uint64_t drawn = b.fresh.x;
    struct output again = bench_output(OUT_SCORES, DTYPE_FP64, 1, 1000, scores, b.arena);
    assert_int_equal(answer(&b, &again).kind, VERDICT_PASS);
    assert_true(b.fresh.x == drawn); /* nothing was drawn while the answer waited */
    assert_int_equal(pool->count, held_now - 1000);
    assert_memory_not_equal(again.values, o.values, 1000 * sizeof(double));
    for (int i = 0; i < 100; i++)
        additive_close(&b.call);
    assert_int_equal(pool->count, POOL_SAMPLES);
    bench_close(&b);
}

static void explain_says(void **unused) {
    (void)unused;
    static const char *const expected[] = {
        "discrete Laplace, exact, on multiples of 2^-8; scale 2\n",
        "(1, 0)-differential privacy",
        "L1 2, L2 1.414",
        "0.272 %",
        "advantage above 0.462",
        "repeats get the same answer",
    };
    struct conf conf = laplace_conf(1), top = scale_conf(1);
    struct buf out;
    buf_init(&out, KIB(16));
    ready(&conf);
    explain(&conf, &out);
    buf_add_char(&out, '\0');
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        if (strstr(out.at, expected[i]) == NULL)
            fail_msg("no '%s' in:\n%s", expected[i], out.at);
    top.keep_top1 = true;
    buf_clear(&out);
    explain(&top, &out);
    buf_add_char(&out, '\0');
    assert_non_null(strstr(out.at, "no differential privacy remains"));
    assert_non_null(strstr(out.at, "promises nothing"));
    buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(widths_follow_the_promise),
        cmocka_unit_test(everything_is_on_the_grid),
        cmocka_unit_test(neighbours_have_the_same_support),
        cmocka_unit_test(noise_fits_its_distribution),
        cmocka_unit_test(rows_are_brought_in_first),
        cmocka_unit_test(sensitivity_holds_for_any_answer),
        cmocka_unit_test(repeats_get_one_answer),
        cmocka_unit_test(without_sticky_repeats_average_out),
        cmocka_unit_test(a_batch_is_its_rows),
        cmocka_unit_test(shared_inputs_and_equal_rows),
        cmocka_unit_test(what_makes_another_draw),
        cmocka_unit_test(contexts_tell_all_parameters_apart),
        cmocka_unit_test(rows_of_one_question),
        cmocka_unit_test(inputs_are_known_by_name),
        cmocka_unit_test(what_does_not),
        cmocka_unit_test(other_questions_have_other_noise),
        cmocka_unit_test(buckets_swallow_jitter),
        cmocka_unit_test(strings_are_questions_too),
        cmocka_unit_test(rankings_have_the_tensors_noise),
        cmocka_unit_test(projection_is_the_nearest),
        cmocka_unit_test(what_after_does),
        cmocka_unit_test(keep_top1_keeps_it),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(only_scores_and_logits_are_touched),
        cmocka_unit_test(datatypes_hold_what_is_released),
        cmocka_unit_test(pools_are_filled_after_the_reply),
        cmocka_unit_test(explain_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
