#include "../../filters/mask_pool.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "noise_harness.h"

static struct mask_pool *read_text(struct arena *arena, struct bytes text, char why[WHY_MAX]) {
    why[0] = '\0';
    return mask_pool_read(arena, text, why);
}

static void lines_are_read_strictly(void **unused) {
    (void)unused;
    static const struct {
        const char *text, *why; /* NULL: it is good */
    } table[] = {
        {"[0.5,0.5]\n[1,0]\n", NULL},
        {" [ 0.5 ,\t5e-1 ] \r\n[1.0,0E+0]", NULL},
        {"", "empty"},
        {"\n", "empty"},
        {"[0.5,0.5]\n\n[1,0]\n", "row 2: expected an array"},
        {"[0.5,0.5]\n[1,0]\n\n", "row 3: expected an array"},
        {"0.5,0.5\n", "row 1: expected an array"},
        {"[1]\n", "fewer than two"},
        {"[]\n", "fewer than two"},
        {"[0.5,0.5]\n[0.2,0.3,0.5]\n", "row 2: it has more"},
        {"[0.5,0.5]\n[1]\n", "row 2: it has fewer"},
        {"[0.5,0.5,]\n", "row 1: expected a number"},
        {"[0.5,0.5\n", "row 1: expected ','"},
        {"[0.5,0.5]]\n", "row 1: expected ','"},
        {"[0.5,0.5] [\n", "row 1: expected ','"},
        {"[0.5,+0.5]\n", "row 1: expected a number"},
        {"[0.5,-0.5]\n", "row 1: expected a number"},
        {"[0.5,.5]\n", "row 1: expected a number"},
        {"[0.5,5.]\n", "row 1: expected a number"},
        {"[0.5,1e]\n", "row 1: expected a number"},
        {"[0.5,0x1p-1]\n", "row 1: expected ','"},
        {"[0.5,nan]\n", "row 1: expected a number"},
        {"[0.5,00.5]\n", "row 1: expected a number"},
        {"[0.5,\"0.5\"]\n", "row 1: expected a number"},
        {"[1e999,0]\n", "row 1: a number is no probability"},
        {"[0.9,0.2]\n", "row 1: its numbers do not sum"},
        {"[0,0]\n", "row 1: its numbers do not sum"},
        {"[0.5,0.5000000000000000000000000000000000000000000000000000000000000000000]\n",
         "row 1: expected a number"},
    };
    struct arena *arena = arena_new(MIB(16));
    char why[WHY_MAX];
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct mask_pool *pool = read_text(arena, bytes_str(table[i].text), why);
        if ((pool != NULL) != (table[i].why == NULL) ||
            (pool == NULL && strstr(why, table[i].why) == NULL))
            fail_msg("'%s': %s", table[i].text, why);
    }
    arena_free(arena);
}

static void rows_are_sorted(void **unused) {
    (void)unused;
    struct arena *arena = arena_new(MIB(1));
    char why[WHY_MAX];
    struct mask_pool *pool =
        read_text(arena, BYTES_LITERAL("[0.125,0.625,0.25]\n[0.5,0.25,0.25]\n"), why);
    static const float expected[] = {0.625f, 0.25f, 0.125f, 0.5f, 0.25f, 0.25f};
    assert_non_null(pool);
    assert_int_equal(pool->rows, 2);
    assert_int_equal(pool->cols, 3);
    assert_memory_equal(pool->values, expected, sizeof(expected));
    arena_free(arena);
}

/* A file of the version with that header and so many bytes of data. */
static struct bytes npy(char *to, int version, const char *header, const void *data, size_t len) {
    size_t n = strlen(header), at = 6;
    memcpy(to, NPY_MAGIC, 6);
    to[at++] = (char)version;
    to[at++] = 0;
    to[at++] = (char)n;
    for (int i = 1; i < (version == 1 ? 2 : 4); i++)
        to[at++] = 0;
    memcpy(to + at, header, n);
    memcpy(to + at + n, data, len);
    return bytes_of(to, at + n + len);
}

static void numpy_is_read_strictly(void **unused) {
    (void)unused;
    static const float narrow[] = {0.25f, 0.75f, 1, 0};
    static const double wide[] = {0.25, 0.75, 1, 0};
    static const float nan_row[] = {NAN, 1, 1, 0};
#define HEAD(type, order, shape) "{'descr': '" type "', 'fortran_order': " order ", 'shape': " shape
    static const struct {
        int version;
        const char *header;
        const void *data;
        size_t len;
        const char *why;
    } table[] = {
        {1, HEAD("<f4", "False", "(2, 2), }   \n"), narrow, sizeof(narrow), NULL},
        {2, HEAD("<f8", "False", "(2, 2), }\n"), wide, sizeof(wide), NULL},
        {1, HEAD("<f8", "False", "(2, 2)}"), wide, sizeof(wide), NULL},
        {3, HEAD("<f4", "False", "(2, 2), }"), narrow, sizeof(narrow), "version"},
        {1, HEAD(">f4", "False", "(2, 2), }"), narrow, sizeof(narrow), "matrix"},
        {1, HEAD("<i4", "False", "(2, 2), }"), narrow, sizeof(narrow), "matrix"},
        {1, HEAD("<f4", "True", "(2, 2), }"), narrow, sizeof(narrow), "matrix"},
        {1, HEAD("<f4", "False", "(4,), }"), narrow, sizeof(narrow), "matrix"},
        {1, HEAD("<f4", "False", "(1, 2, 2), }"), narrow, sizeof(narrow), "matrix"},
        {1, HEAD("<f4", "False", "(2, 2), }"), narrow, sizeof(narrow) - 1, "as long"},
        {1, HEAD("<f4", "False", "(1, 2), }"), narrow, sizeof(narrow), "as long"},
        {1, HEAD("<f4", "False", "(16777216, 16777216), }"), narrow, sizeof(narrow), "more"},
        {1, HEAD("<f4", "False", "(99999999999, 2), }"), narrow, sizeof(narrow), "matrix"},
        {1, HEAD("<f4", "False", "(0, 2), }"), narrow, 0, "no rows"},
        {1, HEAD("<f4", "False", "(2, 2), }"), nan_row, sizeof(nan_row), "no probability"},
    };
    struct arena *arena = arena_new(MIB(256));
    char file[512], why[WHY_MAX];
    static const float sorted[] = {0.75f, 0.25f, 1, 0};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct bytes text =
            npy(file, table[i].version, table[i].header, table[i].data, table[i].len);
        struct mask_pool *pool = read_text(arena, text, why);
        if ((pool != NULL) != (table[i].why == NULL) ||
            (pool == NULL && strstr(why, table[i].why) == NULL))
            fail_msg("case %zu: %s", i, why);
        if (pool != NULL)
            assert_memory_equal(pool->values, sorted, sizeof(sorted));
    }
    struct bytes whole = npy(file, 1, table[0].header, narrow, sizeof(narrow));
    for (size_t n = 0; n < whole.len; n++) { /* cut anywhere: an error, and no byte read behind */
        char *exact = malloc(n + 1);
        memcpy(exact, file, n);
        assert_null(read_text(arena, bytes_of(exact, n), why));
        free(exact);
    }
    arena_free(arena);
}

static struct mask_pool *pool_of(struct arena *arena, uint32_t rows) {
    char why[WHY_MAX];
    struct buf text;
    buf_init(&text, MIB(1));
    for (uint32_t i = 0; i < rows; i++)
        buf_printf(&text, "[%.6f,%.6f]\n", 1 - i * 0.001, i * 0.001);
    struct mask_pool *pool = read_text(arena, buf_bytes(&text), why);
    buf_free(&text);
    assert_non_null(pool);
    return pool;
}

static uint32_t row_of(const struct mask_pool *pool, const float *values) {
    return (uint32_t)((values - pool->values) / pool->cols);
}

static void each_is_dealt_once_a_pass_in_any_order(void **unused) {
    (void)unused;
    struct arena *arena = arena_new(MIB(1));
    struct mask_pool *pool = pool_of(arena, 4);
    struct seeded s = seeded(3);
    uint64_t seen[256] = {0};
    const uint64_t passes = 48000;
    for (uint64_t i = 0; i < passes; i++) {
        uint32_t order = 0, all = 0;
        for (int k = 0; k < 4; k++) {
            uint32_t row = row_of(pool, mask_pool_deal(pool, &s.bits));
            order = order << 2 | row;
            all |= 1u << row;
        }
        assert_int_equal(all, 15);
        seen[order]++;
    }
    double sum = 0, expected = (double)passes / 24;
    int orders = 0;
    for (int i = 0; i < 256; i++) {
        orders += seen[i] > 0;
        sum += seen[i] > 0 ? pow((double)seen[i] - expected, 2) / expected : 0;
    }
    assert_int_equal(orders, 24);
    assert_true(sum < chi_square_limit(23));
    arena_free(arena);
}

static void any_is_picked(void **unused) {
    (void)unused;
    struct arena *arena = arena_new(MIB(1));
    struct mask_pool *pool = pool_of(arena, 5);
    struct seeded s = seeded(4);
    uint64_t seen[5] = {0};
    long double p[5] = {0.2L, 0.2L, 0.2L, 0.2L, 0.2L};
    int freedom;
    for (int i = 0; i < 50000; i++)
        seen[row_of(pool, mask_pool_pick(pool, &s.bits))]++;
    assert_true(chi_square(seen, p, 5, 50000, &freedom) < chi_square_limit(4));
    arena_free(arena);
}

/* ---- Threads ---- */

#define THREADS 4
#define PASSES  50
#define ROWS    200

struct dealer {
    struct mask_pool *pool;
    uint32_t seen[ROWS];
    uint64_t seed;
};

static void *deal_rows(void *at) {
    struct dealer *d = at;
    struct seeded s = seeded(d->seed);
    for (uint32_t i = 0; i < PASSES * ROWS / THREADS; i++)
        d->seen[row_of(d->pool, mask_pool_deal(d->pool, &s.bits))]++;
    return NULL;
}

static void threads_share_a_pass(void **unused) {
    (void)unused;
    struct arena *arena = arena_new(MIB(1));
    static struct dealer dealers[THREADS];
    pthread_t threads[THREADS];
    struct mask_pool *pool = pool_of(arena, ROWS);
    for (int i = 0; i < THREADS; i++) {
        dealers[i] = (struct dealer){.pool = pool, .seed = (uint64_t)i};
        assert_int_equal(pthread_create(&threads[i], NULL, deal_rows, &dealers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int row = 0; row < ROWS; row++) {
        uint32_t sum = 0;
        for (int i = 0; i < THREADS; i++)
            sum += dealers[i].seen[row];
        assert_int_equal(sum, PASSES);
    }
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_read_strictly),
        cmocka_unit_test(rows_are_sorted),
        cmocka_unit_test(numpy_is_read_strictly),
        cmocka_unit_test(each_is_dealt_once_a_pass_in_any_order),
        cmocka_unit_test(any_is_picked),
        cmocka_unit_test(threads_share_a_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
