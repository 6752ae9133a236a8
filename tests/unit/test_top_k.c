#include "../../filters/top_k.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "../../proxy/base/clock.h"

static struct arena *arena;

static int setup(void **unused) {
    (void)unused;
    arena = arena_new(MIB(64));
    return 0;
}

static int teardown(void **unused) {
    (void)unused;
    arena_free(arena);
    return 0;
}

static struct output floats(enum output_kind kind, uint32_t rows, uint32_t cols,
                            const double *from) {
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

static struct verdict run(uint64_t k, int scores, struct output *o) {
    struct conf conf = {k, scores};
    struct predictions p = {.outputs = o, .count = 1};
    struct filter_call call = {.conf = &conf, .arena = arena};
    return on_answer(&call, &p);
}

#define N   NAN
#define I   INFINITY
#define LOW (-32768.0)

static void rows_of_numbers(void **unused) {
    (void)unused;
    static const struct {
        uint64_t k;
        int scores;
        enum output_kind kind;
        double in[5], out[5];
    } table[] = {
        {1, SCORES_HIDE, OUT_SCORES, {.1, .2, .4, .2, .1}, {0, 0, 1, 0, 0}},
        {2, SCORES_HIDE, OUT_SCORES, {.1, .2, .4, .3, .1}, {0, 0, 1, 1, 0}},
        {1, SCORES_HIDE, OUT_SCORES, {.2, .2, .2, .2, .2}, {1, 0, 0, 0, 0}},
        {3, SCORES_HIDE, OUT_SCORES, {.1, .3, .1, .1, .3}, {1, 1, 0, 0, 1}},
        {1, SCORES_HIDE, OUT_SCORES, {-0.0, 0.0, -1, -1, -1}, {1, 0, 0, 0, 0}},
        {1, SCORES_HIDE, OUT_SCORES, {N, .1, N, .2, N}, {0, 0, 0, 1, 0}},
        {3, SCORES_HIDE, OUT_SCORES, {N, .1, N, .2, N}, {0, 1, 0, 1, 0}},
        {2, SCORES_HIDE, OUT_SCORES, {N, N, N, N, N}, {0, 0, 0, 0, 0}},
        {2, SCORES_HIDE, OUT_LOGITS, {-I, N, N, N, -I}, {1, 0, 0, 0, 1}},
        {1, SCORES_HIDE, OUT_LOGITS, {-I, 5, I, 7, I}, {0, 0, 1, 0, 0}},
        {1, SCORES_HIDE, OUT_LOGITS, {-9, -5, -7, -8, -6}, {0, 1, 0, 0, 0}},
        {9, SCORES_HIDE, OUT_SCORES, {.1, .2, .4, .2, .1}, {1, 1, 1, 1, 1}},
        {1, SCORES_KEEP, OUT_SCORES, {.1, .2, .4, .2, .1}, {0, 0, .4, 0, 0}},
        {2, SCORES_KEEP, OUT_SCORES, {.1, .2, .4, .2, .1}, {0, .2, .4, 0, 0}},
        {4, SCORES_KEEP, OUT_SCORES, {.1, N, .4, N, .1}, {.1, 0, .4, 0, .1}},
        {9, SCORES_KEEP, OUT_SCORES, {.1, .2, .4, .2, .1}, {.1, .2, .4, .2, .1}},
        {1, SCORES_KEEP, OUT_SCORES, {-3, -2, -4, N, -5}, {LOW, -2, LOW, LOW, LOW}},
        {2, SCORES_KEEP, OUT_LOGITS, {-3, 2, -4, -1, -5}, {LOW, 2, LOW, -1, LOW}},
        {1, SCORES_KEEP, OUT_LOGITS, {3, 2, 4, 1, 5}, {LOW, LOW, LOW, LOW, 5}},
        {2, SCORES_KEEP, OUT_LOGITS, {-1e9, 7, -1e9, -1e9, -1e9}, {-16384, 7, LOW, LOW, LOW}},
        {2, SCORES_KEEP, OUT_LOGITS, {-2e4, 7, -3e4, N, N}, {-16384, 7, LOW, LOW, LOW}},
        {1, SCORES_KEEP, OUT_LOGITS, {-I, -I, N, -I, -I}, {-16384, LOW, LOW, LOW, LOW}},
        {1, SCORES_KEEP, OUT_LOGITS, {N, N, N, N, N}, {LOW, LOW, LOW, LOW, LOW}},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct output o = floats(table[i].kind, 1, 5, table[i].in);
        assert_int_equal(run(table[i].k, table[i].scores, &o).kind, VERDICT_PASS);
        assert_true(o.changed);
        assert_int_equal(o.grid_digits, table[i].scores == SCORES_HIDE ? 0 : -1);
        for (int c = 0; c < 5; c++)
            if (o.values[c] != table[i].out[c])
                fail_msg("row %zu column %d: %g", i, c, o.values[c]);
    }
}

static void infinite_kept_scores_are_a_fault(void **unused) {
    (void)unused;
    static const double row[] = {.1, I, .3};
    struct output o = floats(OUT_SCORES, 1, 3, row);
    assert_int_equal(run(1, SCORES_KEEP, &o).kind, VERDICT_FAULT);
}

/* Each datatype writes the result so that the client's argmax is the kept class. */
static void argmax_survives_every_datatype(void **unused) {
    (void)unused;
    static const double row[] = {3, 0, 7, 7, 1}, negative[] = {-3, -9, -2, -2, -8};
    for (int type = DTYPE_UINT8; type <= DTYPE_FP64; type++) {
        bool is_unsigned = type <= DTYPE_UINT64;
        for (int scores = SCORES_HIDE; scores <= SCORES_KEEP; scores++) {
            char data[5 * 8], back[8];
            struct tensor one = {.dtype = (enum dtype)type, .elements = 1};
            size_t size = dtype_size((enum dtype)type);
            for (int c = 0; c < 5; c++)
                dtype_write((enum dtype)type, is_unsigned ? row[c] : negative[c], data + c * size);
            struct output o = floats(OUT_LOGITS, 1, 5, NULL);
            o.tensor.dtype = (enum dtype)type;
            o.tensor.data = bytes_of(data, 5 * size);
            assert_int_equal(run(1, scores, &o).kind, VERDICT_PASS);
            double released[5];
            for (int c = 0; c < 5; c++) {
                dtype_write((enum dtype)type, o.values[c], back);
                one.data = bytes_of(back, size);
                released[c] = tensor_number(&one, 0);
                assert_true(released[c] == o.values[c]); /* the datatype holds it exactly */
            }
            for (int c = 0; c < 5; c++)
                assert_true(c == 2 || released[c] < released[2]);
        }
    }
}

/* Kept logits at the very bottom still beat the others once written in 16 bits. */
static void lowest_logits_stay_above_in_16_bits(void **unused) {
    (void)unused;
    static const enum dtype types[] = {DTYPE_FP16, DTYPE_BF16, DTYPE_FP32, DTYPE_INT8, DTYPE_UINT8};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        struct floor f = floor_of(types[i]);
        char kept[8], others[8];
        dtype_write(types[i], f.kept, kept);
        dtype_write(types[i], f.others, others);
        struct tensor a = {.dtype = types[i], .elements = 1, .data = {kept, 8}};
        struct tensor b = {.dtype = types[i], .elements = 1, .data = {others, 8}};
        assert_true(tensor_number(&a, 0) > tensor_number(&b, 0));
    }
}

static void only_scores_are_touched(void **unused) {
    (void)unused;
    static const double row[] = {.1, .7, .2};
    for (int kind = OUT_SCORES; kind <= OUT_OPAQUE; kind++) {
        struct output o = floats((enum output_kind)kind, 1, 3, row);
        assert_int_equal(run(1, SCORES_HIDE, &o).kind, VERDICT_PASS);
        assert_int_equal(o.changed, kind == OUT_SCORES || kind == OUT_LOGITS);
    }
    struct output dropped = floats(OUT_SCORES, 1, 3, row), empty = floats(OUT_SCORES, 1, 0, row);
    dropped.dropped = true;
    run(1, SCORES_HIDE, &dropped);
    assert_false(dropped.changed);
    assert_int_equal(run(1, SCORES_HIDE, &empty).kind, VERDICT_PASS);
    struct output text = floats(OUT_SCORES, 1, 3, row); /* BYTES that are no ranking: no numbers */
    text.tensor.dtype = DTYPE_BYTES;
    assert_int_equal(run(1, SCORES_HIDE, &text).kind, VERDICT_FAULT);
}

#define CLASS(i)                                                                                   \
    {                                                                                              \
        (i), {                                                                                     \
            &"abcdefghij"[i], 1                                                                    \
        }                                                                                          \
    }

static struct output ranking(uint32_t rows, uint32_t cols, double *values,
                             struct output_class *classes) {
    return (struct output){.tensor = {.dtype = DTYPE_BYTES},
                           .kind = OUT_SCORES,
                           .rows = rows,
                           .cols = cols,
                           .classes = classes,
                           .values = values,
                           .grid_digits = -1};
}

static void rankings(void **unused) {
    (void)unused;
    static const struct {
        uint64_t k;
        int scores;
        double in[8];
        uint32_t classes[8];
        double out[8];
        uint32_t kept[8];
        uint32_t cols;
    } table[] = {
        {1, SCORES_HIDE, {.9, .1, 0, 0, .6, .4, 0, 0}, {3, 1, 2, 0, 2, 3, 1, 0}, {1, 1}, {3, 2}, 1},
        {2,
         SCORES_HIDE,
         {.9, .1, 0, 0, .6, .4, 0, 0},
         {3, 1, 2, 0, 2, 3, 1, 0},
         {1, 1, 1, 1},
         {1, 3, 2, 3},
         2},
        {2,
         SCORES_KEEP,
         {.9, .1, 0, 0, .6, .4, 0, 0},
         {3, 1, 2, 0, 2, 3, 1, 0},
         {.9, .1, .6, .4},
         {3, 1, 2, 3},
         2},
        /* not in order, and ties across the cut go to the lower class */
        {2,
         SCORES_KEEP,
         {.1, .2, .4, .2, .3, .3, .3, .3},
         {0, 5, 7, 2, 9, 4, 6, 5},
         {.4, .2, .3, .3},
         {7, 2, 4, 5},
         2},
        {9,
         SCORES_KEEP,
         {.1, .2, .4, .2, 4, 3, 2, 1},
         {0, 5, 7, 2, 9, 4, 6, 5},
         {.4, .2, .2, .1, 4, 3, 2, 1},
         {7, 2, 5, 0, 9, 4, 6, 5},
         4},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        double values[8];
        struct output_class classes[8];
        memcpy(values, table[i].in, sizeof(values));
        for (int c = 0; c < 8; c++)
            classes[c] = (struct output_class)CLASS(table[i].classes[c]);
        struct output o = ranking(2, 4, values, classes);
        assert_int_equal(run(table[i].k, table[i].scores, &o).kind, VERDICT_PASS);
        assert_true(o.changed);
        assert_int_equal(o.cols, table[i].cols);
        for (uint32_t c = 0; c < 2 * o.cols; c++) {
            if (o.values[c] != table[i].out[c] || o.classes[c].index != table[i].kept[c])
                fail_msg("row %zu place %u: %g %u", i, c, o.values[c], o.classes[c].index);
            assert_int_equal(o.classes[c].label.at[0], 'a' + (int)o.classes[c].index);
        }
    }
}

static void ranking_without_enough_numbers_is_a_fault(void **unused) {
    (void)unused;
    double values[] = {.9, N, N};
    struct output_class classes[] = {CLASS(0), CLASS(1), CLASS(2)};
    struct output o = ranking(1, 3, values, classes);
    assert_int_equal(run(2, SCORES_HIDE, &o).kind, VERDICT_FAULT);
    assert_int_equal(run(1, SCORES_HIDE, &o).kind, VERDICT_PASS);
}

static uint64_t rng(void) {
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    return x ^= x << 17;
}

/* Values from a handful, so that ties, NaN and infinities meet often. */
static double awkward(void) {
    static const double few[] = {0, -0.0, .25, .5, .5, 1, -1, N, -I, 3e-320};
    return rng() % 2 == 0 ? few[rng() % 10] : (double)(rng() % 1000) / 999;
}

static double *copy_of(const double *from, size_t n) {
    double *copy = arena_alloc(arena, n * sizeof(*copy));
    assert_non_null(copy);
    return memcpy(copy, from, n * sizeof(*copy));
}

static void a_batch_is_its_rows(void **unused) {
    (void)unused;
    for (int round = 0; round < 2000; round++) {
        uint32_t rows = 1 + (uint32_t)(rng() % 6), cols = 1 + (uint32_t)(rng() % 40);
        uint64_t k = 1 + rng() % 12;
        int scores = (int)(rng() % 2);
        double in[6 * 40];
        for (uint32_t i = 0; i < rows * cols; i++)
            in[i] = awkward();
        struct output batch = floats(OUT_SCORES, rows, cols, copy_of(in, rows * cols));
        assert_int_equal(run(k, scores, &batch).kind, VERDICT_PASS);
        for (uint32_t r = 0; r < rows; r++) {
            struct output one = floats(OUT_SCORES, 1, cols, copy_of(in + r * cols, cols));
            run(k, scores, &one);
            assert_memory_equal(one.values, batch.values + r * cols, cols * sizeof(double));
        }
        arena_reset(arena);
    }
}

/* Column c is kept iff fewer than k columns come before it in the order of the definition. */
static bool oracle_keeps(const double *row, uint32_t cols, uint32_t c, uint64_t k) {
    uint64_t before = 0;
    for (uint32_t i = 0; i < cols; i++)
        before += row[i] > row[c] || (row[i] == row[c] && i < c);
    return !isnan(row[c]) && before < k;
}

static void selection_is_the_definition(void **unused) {
    (void)unused;
    for (int round = 0; round < 3000; round++) {
        uint32_t cols = 1 + (uint32_t)(rng() % 60);
        uint64_t k = 1 + rng() % (cols + 2);
        double in[60];
        for (uint32_t c = 0; c < cols; c++)
            in[c] = awkward();
        struct output o = floats(OUT_SCORES, 1, cols, copy_of(in, cols));
        run(k, SCORES_HIDE, &o);
        for (uint32_t c = 0; c < cols; c++)
            assert_true(o.values[c] == (oracle_keeps(in, cols, c, k) ? 1 : 0));
        arena_reset(arena);
    }
}

/* What is hidden must not matter: any change among the not kept leaves the released bits alone. */
static void hidden_scores_do_not_show(void **unused) {
    (void)unused;
    for (int round = 0; round < 2000; round++) {
        double a[20], b[20];
        int scores = (int)(rng() % 2);
        enum output_kind kind = rng() % 2 == 0 ? OUT_SCORES : OUT_LOGITS;
        for (int c = 0; c < 20; c++)
            a[c] = (double)(rng() % 1000) - 2000;
        a[rng() % 20] = a[rng() % 20] + 3000;
        memcpy(b, a, sizeof(b));
        for (uint32_t c = 0; c < 20; c++)
            if (!oracle_keeps(a, 20, c, 3))
                b[c] = rng() % 4 == 0 ? NAN : -3000 - (double)(rng() % 1000);
        struct output x = floats(kind, 1, 20, a), y = floats(kind, 1, 20, b);
        run(3, scores, &x);
        run(3, scores, &y);
        assert_memory_equal(x.values, y.values, sizeof(a));
        arena_reset(arena);
    }
}

static void cost_is_printed(void **unused) {
    (void)unused;
    static double row[1000];
    static const uint64_t ks[] = {1, 5, 100};
    for (int c = 0; c < 1000; c++)
        row[c] = (double)(rng() >> 11) * 0x1p-53;
    for (int i = 0; i < 3; i++) {
        struct entry at[100];
        struct best best = {at, 0, (uint32_t)ks[i]};
        uint64_t start = clock_ns();
        for (int n = 0; n < 2000; n++)
            select_best(&best, row, NULL, 1000);
        print_message("k = %u of 1000: %.2f us\n", (unsigned)ks[i],
                      (double)(clock_ns() - start) / 2e6);
        assert_int_equal(best.count, ks[i]);
    }
}

static void explain_says(void **unused) {
    (void)unused;
    static const struct {
        struct conf conf;
        const char *has;
    } table[] = {
        {{1, SCORES_HIDE}, "only the best class is shown"},
        {{1, SCORES_HIDE}, "exact top-1 labels still leak the train-test gap"},
        {{5, SCORES_HIDE}, "best 5 classes"},
        {{5, SCORES_KEEP}, "kept scores tell how sure the model is"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct buf out;
        buf_init(&out, KIB(4));
        explain(&table[i].conf, &out);
        buf_add_char(&out, '\0');
        assert_false(out.failed);
        assert_non_null(strstr(out.at, table[i].has));
        buf_free(&out);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(rows_of_numbers),
        TEST(infinite_kept_scores_are_a_fault),
        TEST(argmax_survives_every_datatype),
        TEST(lowest_logits_stay_above_in_16_bits),
        TEST(only_scores_are_touched),
        TEST(rankings),
        TEST(ranking_without_enough_numbers_is_a_fault),
        TEST(a_batch_is_its_rows),
        TEST(selection_is_the_definition),
        TEST(hidden_scores_do_not_show),
        TEST(cost_is_printed),
        TEST(explain_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
