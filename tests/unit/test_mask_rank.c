#include "../../filters/mask_rank.c"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define COLS_MAX 300

static const double *values; /* of the row that is sorted */

static int in_order(const void *at, const void *bt) {
    uint32_t a = *(const uint32_t *)at, b = *(const uint32_t *)bt;
    if (values[a] != values[b])
        return values[a] > values[b] ? -1 : 1;
    return (a > b) - (a < b);
}

static uint64_t splitmix(uint64_t *x) {
    uint64_t z = (*x += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Any number but NaN, often one of a few. */
static double some_number(uint64_t *seed) {
    static const double few[] = {0, -0.0, 1, -1, 0.5, 0x1p-1074, -0x1p-1074, INFINITY, -INFINITY};
    uint64_t bits = splitmix(seed);
    double v;
    if (bits % 2 == 0)
        return few[bits / 2 % (sizeof(few) / sizeof(few[0]))];
    memcpy(&v, &bits, sizeof(v));
    return isnan(v) ? ldexp((double)(bits >> 40), -24) : v;
}

static void both_are_as_qsort(void **unused) {
    (void)unused;
    uint64_t seed = 1;
    for (int i = 0; i < 4000; i++) {
        uint32_t cols = 1 + (uint32_t)(splitmix(&seed) % (i % 10 == 0 ? COLS_MAX : 12));
        uint32_t count = (uint32_t)(splitmix(&seed) % (cols + 1)), expected[COLS_MAX];
        double row[COLS_MAX];
        struct mask_rank rank[COLS_MAX], spare[COLS_MAX];
        for (uint32_t c = 0; c < cols; c++) {
            row[c] = some_number(&seed);
            expected[c] = c;
        }
        values = row;
        qsort(expected, cols, sizeof(*expected), in_order);
        mask_rank_all(row, cols, rank, spare);
        for (uint32_t c = 0; c < cols; c++)
            assert_int_equal(rank[c].at, expected[c]);
        mask_rank_best(row, cols, count, rank, spare);
        for (uint32_t c = 0; c < count; c++)
            assert_int_equal(rank[c].at, expected[c]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(both_are_as_qsort)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
