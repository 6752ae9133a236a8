#include "../../filters/randomize.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "noise_harness.h"

enum { CLASSES_TESTED = 10 };

static struct conf conf_of(int mechanism, double epsilon) {
    return (struct conf){.mechanism = mechanism, .epsilon = epsilon, .sticky = {.on = true}};
}

static struct verdict answer(const struct conf *conf, struct bench *b, struct output *o) {
    struct predictions p = {.outputs = o, .count = 1};
    b->call.conf = conf;
    return on_answer(&b->call, &p);
}

static void contradictions_are_refused(void **unused) {
    (void)unused;
    static const struct {
        struct conf conf;
        const char *option;
    } table[] = {
        {{.mechanism = EXPONENTIAL, .range = {1, 0}}, "range"},
        {{.mechanism = RANDOMIZED_RESPONSE, .range = {0, 1}}, "range"},
        {{.mechanism = EXPONENTIAL, .classes = 3}, "classes"},
        {{.sticky = {.bucket = 1}}, "bucket"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct conf_error error = {NULL, ""};
        struct conf conf = table[i].conf;
        assert_false(check(&conf, &error));
        assert_string_equal(error.option, table[i].option);
        assert_true(error.text[0] != '\0');
    }
}

/* Against the table of the literature: K, epsilon, the rate at which the class is kept. */
static void keeping_rates_match_the_table(void **unused) {
    (void)unused;
    static const struct {
        uint32_t classes;
        double epsilon, kept;
    } table[] = {{2, 1, .73},   {2, 2, .88},   {2, 4, .98},   {10, 1, .23},
                 {10, 2, .45},  {10, 4, .86},  {100, 1, .03}, {100, 2, .07},
                 {100, 4, .36}, {100, 6, .80}, {1000, 8, .75}};
    for (size_t t = 0; t < sizeof(table) / sizeof(table[0]); t++) {
        struct conf conf = conf_of(RANDOMIZED_RESPONSE, table[t].epsilon);
        struct seeded s = seeded(50 + t);
        int n = 20000, kept = 0;
        for (int i = 0; i < n; i++)
            kept += respond(&s.bits, &conf, table[t].classes, 1) == 1;
        double e = exp(table[t].epsilon), p = e / (e + table[t].classes - 1);
        assert_true(fabs(p - table[t].kept) < 0.0051);
        assert_true(fabs((double)kept / n - p) < 5 * sqrt(p * (1 - p) / n));
    }
}

/* P of each class by the definition, from its utilities. */
static void probabilities(const struct conf *conf, const double *u, int n, long double *p) {
    long double w[CLASSES_TESTED], sum = 0;
    double best = 0;
    for (int i = 0; i < n; i++)
        best = fmax(best, u[i]);
    for (int i = 0; i < n; i++) {
        w[i] = expl((long double)(u[i] - best) * conf->epsilon / 2);
        if (conf->mechanism == RANDOMIZED_RESPONSE)
            w[i] = u[i] == best ? 1 : expl(-(long double)conf->epsilon);
        sum += w[i];
        p[i] = 0;
    }
    for (int i = 0; i < n && conf->mechanism != PERMUTE_AND_FLIP; i++)
        p[i] = w[i] / sum;
    /* Each set of heads, and one of it. */
    for (int heads_of = 1; heads_of < 1 << n && conf->mechanism == PERMUTE_AND_FLIP; heads_of++) {
        long double all = 1;
        for (int i = 0; i < n; i++)
            all *= heads_of >> i & 1 ? w[i] : 1 - w[i];
        for (int i = 0; i < n; i++)
            if (heads_of >> i & 1)
                p[i] += all / __builtin_popcount((unsigned)heads_of);
    }
}

static double statistic(const struct conf *conf, const struct conf *claimed, int *freedom) {
    static const double u[] = {0.125, 0.5, 0, 0.25, 0.0625};
    enum { N = 200000, K = 5 };
    struct seeded s = seeded(9);
    uint64_t seen[K] = {0};
    long double p[K];
    int64_t units[K];
    struct output o = {.cols = K, .kind = OUT_SCORES};
    for (int i = 0; i < N; i++) {
        uint32_t class;
        assert_true(choose(&s.bits, conf, &o, u, units, &class));
        seen[class]++;
    }
    probabilities(claimed, u, K, p);
    return chi_square(seen, p, K, N, freedom);
}

static void draws_fit_the_mechanism(void **unused) {
    (void)unused;
    for (int mechanism = RANDOMIZED_RESPONSE; mechanism <= EXPONENTIAL; mechanism++)
        for (double epsilon = 0.5; epsilon < 10; epsilon *= 4) {
            struct conf conf = conf_of(mechanism, epsilon);
            int freedom;
            double x = statistic(&conf, &conf, &freedom);
            if (x > chi_square_limit(freedom))
                fail_msg("mechanism %d, epsilon %g: %g", mechanism, epsilon, x);
            struct conf off = conf_of(mechanism, epsilon * 1.1); /* the test can fail */
            if (epsilon > 1)
                assert_true(statistic(&conf, &off, &freedom) > chi_square_limit(freedom));
        }
}

static void one_hot_and_on_the_grid(void **unused) {
    (void)unused;
    static const double scores[] = {0.2, 0.5, 0.3, 0.9, 0.05, 0.05};
    struct bench b;
    for (int mechanism = RANDOMIZED_RESPONSE; mechanism <= EXPONENTIAL; mechanism++) {
        struct conf conf = conf_of(mechanism, 1);
        bench_open(&b, &conf);
        bench_input(&b, "x", scores, 2, 3);
        struct output o = bench_output(OUT_SCORES, DTYPE_FP32, 2, 3, scores, b.arena);
        assert_int_equal(answer(&conf, &b, &o).kind, VERDICT_PASS);
        assert_true(o.changed && o.grid_digits == 0);
        for (int r = 0; r < 2; r++) {
            double sum = 0;
            for (int c = 0; c < 3; c++) {
                assert_true(o.values[3 * r + c] == 0 || o.values[3 * r + c] == 1);
                sum += o.values[3 * r + c];
            }
            assert_true(sum == 1);
        }
        bench_close(&b);
    }
}

static void labels_are_randomized(void **unused) {
    (void)unused;
    struct conf conf = conf_of(RANDOMIZED_RESPONSE, 1);
    struct bench b;
    uint64_t seen[4] = {0};
    long double p[4];
    int freedom, n = 20000;
    conf.classes = 4;
    bench_open(&b, &conf);
    for (int i = 0; i < n; i++) {
        double q = i, label = 2;
        b.query.input_count = 0;
        bench_input(&b, "x", &q, 1, 1);
        struct output o = bench_output(OUT_LABELS, DTYPE_INT64, 1, 1, &label, b.arena);
        assert_int_equal(answer(&conf, &b, &o).kind, VERDICT_PASS);
        seen[(int)o.values[0]]++;
        arena_reset(b.arena);
    }
    for (int i = 0; i < 4; i++)
        p[i] = (i == 2 ? expl(1) : 1) / (expl(1) + 3);
    assert_true(chi_square(seen, p, 4, (uint64_t)n, &freedom) < chi_square_limit(3));
    bench_close(&b);
}

static void repeats_and_batches(void **unused) {
    (void)unused;
    static const double scores[] = {0.2, 0.5, 0.3, 0.9, 0.05, 0.05}, in[] = {1, 2};
    struct bench b;
    for (int mechanism = RANDOMIZED_RESPONSE; mechanism <= EXPONENTIAL; mechanism++) {
        struct conf conf = conf_of(mechanism, 0.5);
        bench_open(&b, &conf);
        bench_input(&b, "x", in, 2, 1);
        struct output batch = bench_output(OUT_SCORES, DTYPE_FP64, 2, 3, scores, b.arena);
        assert_int_equal(answer(&conf, &b, &batch).kind, VERDICT_PASS);
        for (int r = 0; r < 2; r++)
            for (int again = 0; again < 10; again++) {
                b.query.input_count = 0;
                bench_input(&b, "x", in + r, 1, 1);
                struct output one =
                    bench_output(OUT_SCORES, DTYPE_FP64, 1, 3, scores + 3 * r, b.arena);
                assert_int_equal(answer(&conf, &b, &one).kind, VERDICT_PASS);
                assert_memory_equal(one.values, batch.values + 3 * r, 3 * sizeof(double));
            }
        bench_close(&b);
    }
}

static void without_sticky_repeats_differ(void **unused) {
    (void)unused;
    struct conf conf = conf_of(RANDOMIZED_RESPONSE, 1);
    struct bench b;
    int seen[2] = {0};
    static const double scores[] = {1, 0};
    conf.sticky.on = false;
    bench_open(&b, &conf);
    bench_input(&b, "x", scores, 1, 2);
    for (int i = 0; i < 200; i++) {
        struct output o = bench_output(OUT_SCORES, DTYPE_FP64, 1, 2, scores, b.arena);
        assert_int_equal(answer(&conf, &b, &o).kind, VERDICT_PASS);
        seen[o.values[1] == 1]++;
    }
    assert_true(seen[0] > 100 && seen[1] > 20);
    bench_close(&b);
}

static void what_is_refused(void **unused) {
    (void)unused;
    static const double v[] = {0.5, 0.5}, nan_row[] = {0.5, NAN}, label = 7, low = -1;
    struct conf response = conf_of(RANDOMIZED_RESPONSE, 1), flip = conf_of(PERMUTE_AND_FLIP, 1);
    struct conf labelled = response, many = response;
    struct output_class classes[2] = {{0, {"", 0}}, {1, {"", 0}}};
    struct bench b;
    labelled.classes = 7;
    many.classes = 300;
    bench_open(&b, &response);
    bench_input(&b, "x", v, 1, 2);
    struct output text = {
        .tensor = {.dtype = DTYPE_BYTES}, .kind = OUT_LABELS, .rows = 1, .cols = 1};
    struct output ranking = bench_output(OUT_SCORES, DTYPE_FP64, 1, 2, v, b.arena);
    ranking.classes = classes;
    struct {
        const struct conf *conf;
        struct output o;
        enum verdict_kind kind;
    } table[] = {
        {&response, bench_output(OUT_SCORES, DTYPE_FP64, 1, 2, nan_row, b.arena), VERDICT_FAULT},
        {&flip, bench_output(OUT_SCORES, DTYPE_FP64, 1, 2, nan_row, b.arena), VERDICT_FAULT},
        {&flip, bench_output(OUT_LOGITS, DTYPE_FP64, 1, 2, v, b.arena), VERDICT_FAULT},
        {&response, bench_output(OUT_LOGITS, DTYPE_FP64, 1, 2, v, b.arena), VERDICT_PASS},
        {&response, bench_output(OUT_LABELS, DTYPE_INT64, 1, 1, &label, b.arena), VERDICT_FAULT},
        {&labelled, bench_output(OUT_LABELS, DTYPE_INT64, 1, 1, &label, b.arena), VERDICT_FAULT},
        {&labelled, bench_output(OUT_LABELS, DTYPE_INT64, 1, 1, &low, b.arena), VERDICT_FAULT},
        {&many, bench_output(OUT_LABELS, DTYPE_UINT8, 1, 1, &label, b.arena), VERDICT_FAULT},
        {&many, bench_output(OUT_LABELS, DTYPE_INT16, 1, 1, &label, b.arena), VERDICT_PASS},
        {&labelled, text, VERDICT_FAULT},
        {&response, ranking, VERDICT_FAULT},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (answer(table[i].conf, &b, &table[i].o).kind != table[i].kind)
            fail_msg("row %u", (unsigned)i);
    struct wanted_output wanted = {.classification = 2};
    b.query.wanted = &wanted;
    b.query.wanted_count = 1;
    assert_int_equal(on_query(&b.call).status, 403);
    bench_close(&b);
}

static void scores_are_brought_into_the_range(void **unused) {
    (void)unused;
    static const double logits[] = {-INFINITY, 3, -2, 40};
    struct conf conf = conf_of(PERMUTE_AND_FLIP, 1);
    int64_t units[4];
    struct utilities u = {.count = 4};
    conf.range = (struct range){-2, 8};
    assert_true(read_utilities(&conf, logits, units, &u));
    assert_true(u.width == 10 << 16 && u.most == 10 << 16);
    assert_true(units[0] == 0 && units[1] == 5 << 16 && units[2] == 0 && units[3] == 10 << 16);
}

static void explain_says(void **unused) {
    (void)unused;
    struct conf conf = conf_of(RANDOMIZED_RESPONSE, 4);
    struct buf out;
    buf_init(&out, KIB(8));
    explain(&conf, &out);
    buf_add_char(&out, '\0');
    assert_non_null(strstr(out.at, "98.2 % of answers of 2 classes, 85.8 % of 10"));
    assert_non_null(strstr(out.at, "4-differential privacy"));
    assert_non_null(strstr(out.at, "advantage above 0.964"));
    buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(keeping_rates_match_the_table),
        cmocka_unit_test(draws_fit_the_mechanism),
        cmocka_unit_test(one_hot_and_on_the_grid),
        cmocka_unit_test(labels_are_randomized),
        cmocka_unit_test(repeats_and_batches),
        cmocka_unit_test(without_sticky_repeats_differ),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(scores_are_brought_into_the_range),
        cmocka_unit_test(explain_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
