#include "../../filters/mask.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "noise_harness.h"

#ifdef __SANITIZE_ADDRESS__
#define SHARE 20 /* of the rows, so that the instrumented run is as short */
#else
#define SHARE 1
#endif

static const double question[] = {1, 2, 3};

static struct verdict answer(const struct conf *conf, struct bench *b, struct output *o) {
    struct predictions p = {.outputs = o, .count = 1};
    b->call.conf = conf;
    return on_answer(&b->call, &p);
}

static double unit(struct seeded *s) {
    return ldexp((double)bits_take(&s->bits, 53), -53);
}

/* A row of probabilities as a datatype holds it: smooth, sharp, with zeros, with ties, flat, or
 * certain. */
static void make_row(struct seeded *s, enum dtype type, double *y, uint32_t n) {
    uint64_t shape = bits_below(&s->bits, 6), top = bits_below(&s->bits, n);
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        double u = unit(s);
        y[i] = shape == 0   ? u
               : shape == 1 ? exp(15 * u)
               : shape == 2 ? (u < 0.6 ? 0 : u)
               : shape == 3 ? floor(4 * u)
               : shape == 4 ? 1
                            : 0;
    }
    y[top] += shape == 2 || shape == 3 || shape == 5;
    for (uint32_t i = 0; i < n; i++)
        sum += y[i];
    for (uint32_t i = 0; i < n; i++)
        y[i] = held(type, y[i] / sum);
}

static uint32_t top_of(const double *y, uint32_t n) {
    uint32_t top = 0;
    for (uint32_t i = 1; i < n; i++)
        if (y[i] > y[top])
            top = i;
    return top;
}

/* One pool of so many classes, with flat rows and rows whose best are equal among the others. */
static struct mask_pool *pool_of(struct arena *arena, uint32_t rows, uint32_t cols) {
    struct mask_pool *pool = arena_new_array(arena, struct mask_pool, 1);
    struct seeded s = seeded(cols);
    double *y = arena_new_array(arena, double, cols);
    struct mask_rank *rank = arena_new_array(arena, struct mask_rank, 2 * (size_t)cols);
    *pool = (struct mask_pool){.rows = rows, .cols = cols};
    pool->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    pool->values = arena_new_array(arena, float, (size_t)rows *cols);
    pool->order = arena_new_array(arena, uint32_t, rows);
    for (uint32_t r = 0; r < rows; r++) {
        make_row(&s, DTYPE_FP32, y, cols);
        mask_rank_all(y, cols, rank, rank + cols);
        for (uint32_t i = 0; i < cols; i++)
            pool->values[(size_t)r * cols + i] = (float)y[rank[i].at];
        pool->order[r] = r;
    }
    return pool;
}

/* ---- What is refused ---- */

static void contradictions_are_refused(void **unused) {
    (void)unused;
    static const struct {
        struct conf conf;
        const char *option, *text;
    } table[] = {
        {{.method = RANK_SWAP, .sticky = {.on = true}}, NULL, "needs a 'pool'"},
        {{.method = RANK_SWAP, .file = {"p", 1}, .distance = 1}, "distance", "bounds no distance"},
        {{.method = RANK_SWAP, .file = {"p", 1}, .top = 3}, "top", "all scores"},
        {{.method = RANK_SWAP, .file = {"p", 1}, .sticky = {false, 1}}, "bucket", "sticky: true"},
        {{.method = MODEL_GUARD, .sticky = {.on = true}}, NULL, "needs a 'distance'"},
        {{.method = MODEL_GUARD, .distance = 1, .file = {"p", 1}, .sticky = {.on = true}},
         "pool",
         "from no pool"},
        {{.method = MODEL_GUARD, .distance = 1}, "sticky", "draws nothing"},
        {{.method = MODEL_GUARD, .distance = 1, .sticky = {true, 1}}, "bucket", "draws nothing"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct conf conf = table[i].conf;
        struct conf_error error = {NULL, ""};
        assert_false(check(&conf, &error));
        assert_true((error.option == NULL) == (table[i].option == NULL));
        if (error.option != NULL)
            assert_string_equal(error.option, table[i].option);
        assert_non_null(strstr(error.text, table[i].text));
    }
    struct conf good = {.method = MODEL_GUARD, .distance = 1, .sticky = {.on = true}};
    struct conf_error error;
    assert_true(check(&good, &error));
    assert_int_equal(good.top, 10);
}

static const char *file_text;

static const char *give_file(struct loader *from, struct bytes path, struct buf *out,
                             char why[LOADER_WHY_MAX]) {
    (void)from, (void)path, (void)why;
    if (file_text == NULL)
        return "it is not there";
    buf_add_str(out, file_text);
    return NULL;
}

static void pools_are_loaded(void **unused) {
    (void)unused;
    struct loader from = {.arena = arena_new(MIB(1)), .file = give_file};
    struct conf conf = {.method = RANK_SWAP, .file = BYTES_LITERAL("pool")};
    struct conf_error error;
    file_text = NULL;
    assert_false(load(&conf, &from, &error));
    assert_string_equal(error.option, "pool");
    assert_string_equal(error.text, "cannot use the pool: it is not there");
    file_text = "[0.5,0.6]";
    assert_false(load(&conf, &from, &error));
    assert_string_equal(error.text, "cannot use the pool: row 1: its numbers do not sum to 1");
    file_text = "[0.25,0.75]\n";
    assert_true(load(&conf, &from, &error));
    assert_int_equal(conf.pool->cols, 2);
    arena_free(from.arena);
}

static void what_cannot_be_masked_does_not_leave(void **unused) {
    (void)unused;
    static const struct {
        enum output_kind kind;
        enum dtype type;
        double values[3];
        const char *guard, *swap; /* NULL: it passes */
    } table[] = {
        {OUT_SCORES, DTYPE_FP32, {0.2, 0.3, 0.5}, NULL, NULL},
        {OUT_SCORES, DTYPE_FP64, {NAN, 0.5, 0.5}, "not a finite", "not a finite"},
        {OUT_SCORES, DTYPE_FP64, {INFINITY, 0, 0}, "not a finite", "not a finite"},
        {OUT_SCORES, DTYPE_FP64, {0.2, 0.2, 0.5}, "sum to 1", NULL},
        {OUT_SCORES, DTYPE_FP64, {-0.1, 0.6, 0.5}, "sum to 1", NULL},
        {OUT_SCORES, DTYPE_UINT8, {1, 0, 0}, "integers", "integers"},
        {OUT_LOGITS, DTYPE_FP32, {0.2, 0.3, 0.5}, "logits", "logits"},
        {OUT_VALUE, DTYPE_FP32, {7, 0.3, 0.5}, NULL, NULL},
    };
    struct bench b;
    bench_open(&b, NULL);
    bench_input(&b, "x", question, 1, 3);
    struct conf guard = {.method = MODEL_GUARD, .distance = 0.5, .top = 10};
    struct conf swap = {.method = RANK_SWAP, .pool = pool_of(b.arena, 4, 3)};
    for (size_t i = 0; i < 2 * sizeof(table) / sizeof(table[0]); i++) {
        const char *why = i % 2 ? table[i / 2].swap : table[i / 2].guard;
        struct output o =
            bench_output(table[i / 2].kind, table[i / 2].type, 1, 3, table[i / 2].values, b.arena);
        struct verdict v = answer(i % 2 ? &swap : &guard, &b, &o);
        assert_int_equal(v.kind, why == NULL ? VERDICT_PASS : VERDICT_FAULT);
        if (why != NULL)
            assert_non_null(strstr(v.reason, why));
        assert_true(why != NULL || o.changed == (o.kind == OUT_SCORES));
    }
    struct output o = bench_output(OUT_SCORES, DTYPE_FP64, 1, 2, question, b.arena);
    assert_int_equal(answer(&swap, &b, &o).kind, VERDICT_FAULT); /* a pool of three classes */
    struct wanted_output wanted = {.classification = 2};
    b.query.wanted = &wanted;
    b.query.wanted_count = 1;
    b.call.conf = &guard;
    assert_int_equal(on_query(&b.call).status, 403);
    b.call.conf = &swap;
    assert_int_equal(on_query(&b.call).kind, VERDICT_PASS);
    bench_close(&b);
}

/* ---- Both methods, on many rows ---- */

static void assert_row(const struct conf *conf, enum dtype type, const double *y, const double *x,
                       uint32_t n) {
    struct rounding rounding = rounding_of(type);
    uint32_t top = top_of(y, n);
    double sum = 0, before = 0, distance = 0;
    for (uint32_t i = 0; i < n; i++) {
        assert_true(x[i] >= 0 && x[i] == held(type, x[i]));
        assert_true(i == top || x[i] < x[top]);
        if (conf->method == MODEL_GUARD)
            assert_true(i == top || x[top] - x[i] >= GAP);
        else
            assert_true(i == top || n < 3 || y[i] < y[top] || x[i] <= x[top]);
        sum += x[i];
        before += y[i];
        distance += fabs(x[i] - y[i]);
    }
    if (conf->method == MODEL_GUARD) {
        assert_true(distance <= conf->distance);
        assert_true(fabs(sum - before) <= 1.02 * (rounding.part + rounding.least * n));
    } else {
        assert_true(fabs(sum - 1) <= 3 * rounding.part + n * rounding.least + 1e-6);
    }
}

/* So many rows, and that none loses its best class. */
static void many_rows(struct conf *conf, struct bench *b, enum dtype type, uint32_t cols,
                      uint32_t rows) {
    struct seeded s = seeded(cols + 100 * (uint64_t)type);
    const uint32_t batch = rows < 1000 ? rows : 1000;
    for (uint32_t done = 0; done < rows; done += batch) {
        arena_reset(b->arena);
        if (conf->method == RANK_SWAP)
            conf->pool = pool_of(b->arena, 7, cols);
        double *y = arena_new_array(b->arena, double, (size_t)batch *cols);
        for (uint32_t r = 0; r < batch; r++)
            make_row(&s, type, y + (size_t)r * cols, cols);
        struct output o = bench_output(OUT_SCORES, type, batch, cols, y, b->arena);
        struct verdict v = answer(conf, b, &o);
        if (v.kind != VERDICT_PASS)
            fail_msg("%s", v.reason);
        for (uint32_t r = 0; r < batch; r++)
            assert_row(conf, type, y + (size_t)r * cols, o.values + (size_t)r * cols, cols);
    }
}

static const enum dtype types[] = {DTYPE_FP32, DTYPE_FP64, DTYPE_FP16, DTYPE_BF16};
static const struct {
    uint32_t cols, rows;
} sizes[] = {{2, 30000}, {3, 30000}, {10, 100000}, {50, 20000}, {1000, 300}};

static void guarded_rows_keep_class_distance_and_sum(void **unused) {
    (void)unused;
    static const double distances[] = {DISTANCE_MIN, 0.3, 2};
    struct bench b;
    bench_open(&b, NULL);
    for (size_t t = 0; t < 4; t++)
        for (size_t k = 0; k < 5; k++)
            for (size_t d = 0; d < 3; d++) {
                struct conf conf = {.method = MODEL_GUARD, .distance = distances[d], .top = 10};
                conf.top = sizes[k].cols == 1000 && d == 1 ? 1000 : d == 2 ? 4 : 10;
                many_rows(&conf, &b, types[t], sizes[k].cols, sizes[k].rows / 2 / SHARE);
            }
    bench_close(&b);
}

static void swapped_rows_keep_class_and_sum(void **unused) {
    (void)unused;
    struct bench b;
    bench_open(&b, NULL);
    struct conf conf = {.method = RANK_SWAP};
    for (size_t t = 0; t < 4; t++)
        for (size_t k = 0; k < 5; k++)
            many_rows(&conf, &b, types[t], sizes[k].cols, sizes[k].rows * 3 / 2 / SHARE);
    bench_close(&b);
}

/* ---- model_guard ---- */

static void others_than_the_top_stay(void **unused) {
    (void)unused;
    static const double y[] = {0.05, 0.4, 0.05, 0.3, 0.2};
    struct conf conf = {.method = MODEL_GUARD, .distance = 0.1, .top = 3};
    struct bench b;
    bench_open(&b, &conf);
    struct output o = bench_output(OUT_SCORES, DTYPE_FP64, 1, 5, y, b.arena);
    o.grid_digits = 2;
    assert_int_equal(answer(&conf, &b, &o).kind, VERDICT_PASS);
    assert_true(o.values[0] == 0.05 && o.values[2] == 0.05 && o.values[3] == 0.3);
    assert_true(fabs(o.values[1] - 0.35) < 1e-12 && fabs(o.values[4] - 0.25) < 1e-12);
    assert_true(o.changed && o.grid_digits == -1);
    bench_close(&b);
}

/* ---- rank_swap ---- */

static struct output ranking_of(struct arena *arena, const double *values, const uint32_t *classes,
                                uint32_t cols) {
    struct output o = bench_output(OUT_SCORES, DTYPE_FP64, 1, cols, values, arena);
    o.values = arena_new_array(arena, double, cols);
    o.classes = arena_new_array(arena, struct output_class, cols);
    o.tensor.dtype = DTYPE_BYTES;
    memcpy(o.values, values, cols * sizeof(*values));
    for (uint32_t i = 0; i < cols; i++)
        o.classes[i].index = classes[i];
    return o;
}

static void values_are_dealt_rank_for_rank(void **unused) {
    (void)unused;
    static const double y[] = {0.1, 0.4, 0.1, 0.4};
    static const double expected[] = {0.125, 0.5, 0.125, 0.25}; /* equals: the lower class first */
    static const double listed[] = {0.4, 0.4, 0.1};
    static const uint32_t classes[] = {3, 1, 2};
    static float values[] = {0.5f, 0.25f, 0.125f, 0.125f};
    static uint32_t order[] = {0};
    struct mask_pool pool = {.rows = 1, .cols = 4, .values = values, .order = order};
    struct conf conf = {.method = RANK_SWAP, .pool = &pool};
    struct bench b;
    bench_open(&b, &conf);
    struct output o = bench_output(OUT_SCORES, DTYPE_FP64, 1, 4, y, b.arena);
    assert_int_equal(answer(&conf, &b, &o).kind, VERDICT_PASS);
    assert_memory_equal(o.values, expected, sizeof(expected));
    o = ranking_of(b.arena, listed, classes, 3);
    assert_int_equal(answer(&conf, &b, &o).kind, VERDICT_PASS);
    for (uint32_t i = 0; i < 3; i++) {
        static const uint32_t in_order[] = {1, 3, 2};
        assert_true(o.values[i] == (double)values[i]);
        assert_int_equal(o.classes[i].index, in_order[i]);
    }
    bench_close(&b);
}

static void only_the_order_shows(void **unused) {
    (void)unused;
    static const double y[2][4] = {{0.1, 0.6, 0.05, 0.25}, {0.2, 0.29, 0.15, 0.28}};
    struct bench b;
    bench_open(&b, NULL);
    bench_input(&b, "x", question, 1, 3);
    struct conf conf = {
        .method = RANK_SWAP, .pool = pool_of(b.arena, 50, 4), .sticky = {.on = true}};
    struct output o[2];
    for (int i = 0; i < 2; i++) {
        o[i] = bench_output(OUT_SCORES, DTYPE_FP32, 1, 4, y[i], b.arena);
        assert_int_equal(answer(&conf, &b, &o[i]).kind, VERDICT_PASS);
    }
    assert_memory_equal(o[0].values, o[1].values, 4 * sizeof(double));
    bench_close(&b);
}

static void batches_are_their_rows(void **unused) {
    (void)unused;
    enum { ROWS = 64, COLS = 12 };
    double x[ROWS], y[ROWS * COLS];
    struct bench b;
    struct seeded s = seeded(5);
    bench_open(&b, NULL);
    struct conf confs[] = {{.method = RANK_SWAP, .sticky = {.on = true}},
                           {.method = MODEL_GUARD, .distance = 0.4, .top = 10}};
    confs[0].pool = pool_of(b.arena, 50, COLS);
    for (int r = 0; r < ROWS; r++) {
        x[r] = r;
        make_row(&s, DTYPE_FP32, y + r * COLS, COLS);
    }
    for (int c = 0; c < 2; c++) {
        b.query.input_count = 0;
        bench_input(&b, "x", x, ROWS, 1);
        struct output batch = bench_output(OUT_SCORES, DTYPE_FP32, ROWS, COLS, y, b.arena);
        assert_int_equal(answer(&confs[c], &b, &batch).kind, VERDICT_PASS);
        for (int r = 0; r < ROWS; r++) {
            b.query.input_count = 0;
            bench_input(&b, "x", x + r, 1, 1);
            struct output one =
                bench_output(OUT_SCORES, DTYPE_FP32, 1, COLS, y + r * COLS, b.arena);
            assert_int_equal(answer(&confs[c], &b, &one).kind, VERDICT_PASS);
            assert_memory_equal(one.values, batch.values + r * COLS, COLS * sizeof(double));
        }
    }
    bench_close(&b);
}

static void explain_promises_nothing_it_cannot_keep(void **unused) {
    (void)unused;
    struct mask_pool pool = {.rows = 3, .cols = 4};
    struct conf confs[] = {{.method = RANK_SWAP, .pool = &pool},
                           {.method = MODEL_GUARD, .distance = 0.4, .top = 10}};
    for (int i = 0; i < 2; i++) {
        struct buf out;
        buf_init(&out, KIB(8));
        explain(&confs[i], &out);
        buf_add_char(&out, '\0');
        assert_non_null(strstr(out.at, "none of differential privacy"));
        assert_non_null(strstr(out.at, "best class stays the best"));
        assert_non_null(strstr(out.at, i == 0 ? "3 answers" : "at most 0.4"));
        buf_free(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(pools_are_loaded),
        cmocka_unit_test(what_cannot_be_masked_does_not_leave),
        cmocka_unit_test(guarded_rows_keep_class_distance_and_sum),
        cmocka_unit_test(swapped_rows_keep_class_and_sum),
        cmocka_unit_test(others_than_the_top_stay),
        cmocka_unit_test(values_are_dealt_rank_for_rank),
        cmocka_unit_test(only_the_order_shows),
        cmocka_unit_test(batches_are_their_rows),
        cmocka_unit_test(explain_promises_nothing_it_cannot_keep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
