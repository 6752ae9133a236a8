/* The answer's being best is held against another solver in tests/e2e/test_41_mask.py; here are
 * cases solved by hand, and the constraints on many rows. */
#include "../../filters/mask_lp.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../proxy/base/bytes.h"

static uint64_t splitmix(uint64_t *x) {
    uint64_t z = (*x += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static double unit(uint64_t *seed) {
    return ldexp((double)(splitmix(seed) >> 11), -53);
}

static void solved_by_hand(void **unused) {
    (void)unused;
    static const struct {
        struct mask_lp lp;
        double y[4], x[4];
    } table[] = {
        /* one: nothing to move */
        {{.n = 1, .distance = 1, .gap = 1e-4}, {1}, {1}},
        /* two: the whole distance, or down to the gap */
        {{.n = 2, .distance = 0.2, .gap = 1e-4}, {0.9, 0.1}, {0.8, 0.2}},
        {{.n = 2, .distance = 2, .gap = 0.01}, {0.9, 0.1}, {0.505, 0.495}},
        /* equal: the best is raised by half the gap, at the cost of the other */
        {{.n = 2, .distance = 1, .gap = 0.01}, {0.5, 0.5}, {0.505, 0.495}},
        /* from the best to the least */
        {{.n = 3, .distance = 0.2, .gap = 1e-4}, {0.7, 0.2, 0.1}, {0.6, 0.2, 0.2}},
        /* the least is full at x_0 - gap; more is taken from the second for both */
        {{.n = 3, .distance = 2, .gap = 0.01}, {0.6, 0.4, 0}, {0.505, 0, 0.495}},
        /* above the floor, whatever it would save */
        {{.n = 2, .distance = 1, .gap = 0.01, .floor = 0.85}, {0.9, 0.1}, {0.85, 0.15}},
        /* nothing moves between equals */
        {{.n = 3, .distance = 1, .gap = 0.01, .floor = 0.5}, {0.5, 0.25, 0.25}, {0.5, 0.25, 0.25}},
        /* less than 1 in all, and numbers that are equal */
        {{.n = 3, .distance = 0.1, .gap = 0.01}, {0.3, 0.1, 0.1}, {0.25, 0.1, 0.15}},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct mask_lp lp = table[i].lp;
        double x[4];
        lp.y = table[i].y;
        mask_lp_solve(&lp, x);
        for (uint32_t j = 0; j < lp.n; j++)
            if (fabs(x[j] - table[i].x[j]) > 1e-12)
                fail_msg("case %zu: x[%u] is %.17g", i, j, x[j]);
    }
}

static int falling(const void *at, const void *bt) {
    double a = *(const double *)at, b = *(const double *)bt;
    return (a < b) - (a > b);
}

/* Smooth, peaked, with zeros, with ties, flat, and one certain. */
static void make_row(uint64_t *seed, double *y, uint32_t n) {
    uint64_t shape = splitmix(seed) % 6;
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        double u = unit(seed);
        y[i] = shape == 0   ? u
               : shape == 1 ? exp(20 * u)
               : shape == 2 ? (u < 0.5 ? 0 : u)
               : shape == 3 ? floor(4 * u)
               : shape == 4 ? 1
                            : i == 0;
    }
    y[0] += shape == 3 || shape == 2;
    qsort(y, n, sizeof(*y), falling);
    for (uint32_t i = 0; i < n; i++)
        sum += y[i];
    for (uint32_t i = 0; i < n; i++)
        y[i] /= sum;
}

static void constraints_hold(void **unused) {
    (void)unused;
    static const uint32_t sizes[] = {2, 3, 5, 10, 100, 1000};
    uint64_t seed = 11;
    double y[MASK_LP_MAX], x[MASK_LP_MAX];
    for (int i = 0; i < 30000; i++) {
        uint32_t n = sizes[i % 100 == 0 ? 5 : i % 5];
        make_row(&seed, y, n);
        struct mask_lp lp = {.y = y, .n = n, .gap = 1e-4};
        lp.distance = fmax(2e-4, pow(10, -4 * unit(&seed)) * 2);
        lp.floor = splitmix(&seed) % 2 ? 0 : y[n - 1] * unit(&seed) + lp.gap;
        mask_lp_solve(&lp, x);
        double sum = 0, distance = 0, before = 0, after = 0;
        for (uint32_t j = 0; j < n; j++) {
            assert_true(x[j] >= 0);
            assert_true(j == 0 || x[0] - x[j] >= lp.gap - 1e-14);
            sum += x[j] - y[j];
            distance += fabs(x[j] - y[j]);
            before += log(y[j] + 1e-6) * y[j];
            after += log(y[j] + 1e-6) * x[j];
        }
        assert_true(fabs(sum) < 1e-13);
        assert_true(distance <= lp.distance + 1e-13);
        assert_true(x[0] >= lp.floor);
        if (y[0] - y[1] >= lp.gap && y[0] >= lp.floor)
            assert_true(after <= before + 1e-12); /* y itself would have done */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(solved_by_hand),
        cmocka_unit_test(constraints_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
