/* Every sampler against its probabilities in long double, with fixed seeds: a chi-square that a
 * right sampler exceeds once in 10^5 seeds cannot flake on these. */
#include "../../filters/discrete.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "noise_harness.h"

static void bits_come_in_order(void **unused) {
    (void)unused;
    struct seeded a = seeded(1), b = seeded(1);
    uint64_t words[3];
    a.bits.fill(&a.bits, words, sizeof(words));
    for (int i = 0; i < 150; i++)
        assert_int_equal(bits_take(&b.bits, 1), words[i / 64] >> i % 64 & 1);
    struct seeded c = seeded(1);
    assert_int_equal(bits_take(&c.bits, 60), words[0] & ((1ull << 60) - 1));
    assert_int_equal(bits_take(&c.bits, 64), words[0] >> 60 | words[1] << 4);
    assert_int_equal(bits_take(&c.bits, 4), words[1] >> 60);
    assert_int_equal(bits_take(&c.bits, 64), words[2]);
}

static void below_is_uniform(void **unused) {
    (void)unused;
    static const uint64_t tops[] = {1, 2, 3, 5, 8, 100, 257};
    for (size_t t = 0; t < sizeof(tops) / sizeof(tops[0]); t++) {
        struct seeded s = seeded(2 + t);
        uint64_t seen[257] = {0}, n = 100000;
        long double p[257];
        int freedom;
        for (uint64_t i = 0; i < n; i++) {
            uint64_t v = bits_below(&s.bits, tops[t]);
            assert_true(v < tops[t]);
            seen[v]++;
        }
        for (uint64_t i = 0; i < tops[t]; i++)
            p[i] = 1.0L / tops[t];
        double x = chi_square(seen, p, (int)tops[t], n, &freedom);
        if (freedom > 0 && x > chi_square_limit(freedom))
            fail_msg("below %u: %g with %d degrees", (unsigned)tops[t], x, freedom);
    }
    struct seeded s = seeded(3);
    for (int i = 0; i < 1000; i++)
        assert_true(bits_below(&s.bits, UINT64_MAX) < UINT64_MAX);
}

/* Within five standard deviations. */
static void assert_rate(uint64_t hits, uint64_t n, long double p, const char *what) {
    double expected = (double)(p * n), deviation = sqrt(expected * (double)(1 - p)) + 1e-9;
    if (fabs((double)hits - expected) > 5 * deviation)
        fail_msg("%s: %llu of %llu, expected %g +- %g", what, (unsigned long long)hits,
                 (unsigned long long)n, expected, deviation);
}

static void bernoulli_is_exact(void **unused) {
    (void)unused;
    const wide big = (wide)1 << 119;
    static const uint64_t n = 150000;
    const struct {
        wide n, d;
        long double p;
    } table[] = {
        {0, 1, 0},
        {1, 1, 1},
        {1, 2, .5L},
        {1, 3, 1 / 3.0L},
        {2, 3, 2 / 3.0L},
        {999, 1000, .999L},
        {1, 1000, .001L},
        {((uint64_t)1 << 61) - 1, (uint64_t)1 << 61, 1},
        {big / 3, big, 1 / 3.0L},
        {big / 1000 * 999, big, .999L},
        {0, big, 0},
        {big, big, 1},
        {((wide)1 << 120) - 2, ((wide)1 << 120) - 1, 1},
    };
    for (size_t t = 0; t < sizeof(table) / sizeof(table[0]); t++) {
        struct seeded s = seeded(10 + t);
        uint64_t hits = 0;
        for (uint64_t i = 0; i < n; i++)
            hits += draw_bernoulli(&s.bits, table[t].n, table[t].d);
        assert_rate(hits, n, table[t].p, "bernoulli");
    }
}

/* exp(-1) = 1/2 - 1/6 + 1/24 - ..., in integers of 320 bits, the lowest 64 for what divisions drop.
 */
static void inverse_e_is_its_series(void **unused) {
    (void)unused;
    enum { BYTES = 40 };
    unsigned char term[BYTES + 1] = {1}, sum[BYTES + 1] = {0};
    for (int k = 1; k < 80; k++) {
        unsigned rest = 0;
        int carry = 0;
        for (int i = 0; i <= BYTES; i++) {
            rest = rest << 8 | term[i];
            term[i] = (unsigned char)(rest / (unsigned)k);
            rest %= (unsigned)k;
        }
        if (k == 1)
            continue; /* 1 - 1 */
        for (int i = BYTES; i >= 0; i--) {
            int v = sum[i] + (k % 2 == 0 ? term[i] : -term[i]) + carry;
            carry = v < 0 ? -1 : v > 255 ? 1 : 0;
            sum[i] = (unsigned char)(v - 256 * carry);
        }
    }
    assert_int_equal(sum[0], 0);
    assert_memory_equal(sum + 1, inverse_e, sizeof(inverse_e));
}

static void bernoulli_exp_is_exact(void **unused) {
    (void)unused;
    static const uint64_t n = 150000;
    static const struct {
        uint64_t n, d;
    } table[] = {{0, 1}, {1, 1}, {1, 2},  {1, 1000},      {3, 2},
                 {2, 1}, {5, 1}, {17, 7}, {1, 1ull << 40}};
    for (size_t t = 0; t < sizeof(table) / sizeof(table[0]); t++) {
        struct seeded s = seeded(30 + t);
        uint64_t narrow = 0, much = 0;
        for (uint64_t i = 0; i < n; i++) {
            narrow += draw_bernoulli_exp(&s.bits, table[t].n, table[t].d);
            much += draw_bernoulli_exp(&s.bits, (wide)table[t].n << 64, (wide)table[t].d << 64);
        }
        long double p = expl(-(long double)table[t].n / table[t].d);
        assert_rate(narrow, n, p, "exp of a narrow ratio");
        assert_rate(much, n, p, "exp of a wide ratio");
    }
    struct seeded s = seeded(40);
    for (int i = 0; i < 1000; i++)
        assert_false(draw_bernoulli_exp(&s.bits, 200, 1));
}

#define BINS 401 /* -200 .. 200; further out belongs to the outermost */

static long double weight(const struct distribution *d, int64_t x) {
    long double p = (long double)d->parameter.num / d->parameter.den, v = x;
    return d->kind == DISCRETE_LAPLACE ? expl(-fabsl(v) / p) : expl(-v * v / (2 * p));
}

/* P of each bin; sums over so many integers that the rest is below 10^-19. */
static void probabilities(const struct distribution *d, long double p[BINS]) {
    long double sum = 0, w;
    for (int i = 0; i < BINS; i++)
        p[i] = 0;
    for (int64_t x = -100000; x <= 100000; x++) {
        int64_t bin = x < -200 ? -200 : x > 200 ? 200 : x;
        w = weight(d, x);
        sum += w;
        p[bin + 200] += w;
    }
    for (int i = 0; i < BINS; i++)
        p[i] /= sum;
}

static double statistic(const struct distribution *d, const struct distribution *claimed,
                        uint64_t n, int *freedom) {
    struct seeded s = seeded(d->parameter.num * 1000 + d->parameter.den + d->kind);
    uint64_t seen[BINS] = {0};
    long double p[BINS];
    for (uint64_t i = 0; i < n; i++) {
        int64_t x = distribution_draw(d, &s.bits);
        seen[(x < -200 ? -200 : x > 200 ? 200 : x) + 200]++;
    }
    probabilities(claimed, p);
    return chi_square(seen, p, BINS, n, freedom);
}

static void samples_fit_their_distribution(void **unused) {
    (void)unused;
    static const struct distribution table[] = {
        {DISCRETE_LAPLACE, {1, 1}},    {DISCRETE_LAPLACE, {1, 3}},
        {DISCRETE_LAPLACE, {10, 1}},   {DISCRETE_LAPLACE, {7, 3}},
        {DISCRETE_LAPLACE, {1, 1000}}, {DISCRETE_LAPLACE, {40000000, 1000001}},
        {DISCRETE_GAUSSIAN, {1, 1}},   {DISCRETE_GAUSSIAN, {1, 10}},
        {DISCRETE_GAUSSIAN, {7, 2}},   {DISCRETE_GAUSSIAN, {100, 1}},
        {DISCRETE_GAUSSIAN, {9, 4}},   {DISCRETE_GAUSSIAN, {2000001, 1024}},
    };
    for (size_t t = 0; t < sizeof(table) / sizeof(table[0]); t++) {
        int freedom;
        double x = statistic(&table[t], &table[t], 1000000, &freedom);
        if (freedom > 0 && x > chi_square_limit(freedom))
            fail_msg("row %u: %g with %d degrees", (unsigned)t, x, freedom);
    }
}

/* The same test sees a parameter that is 4 % off. */
static void the_test_can_fail(void **unused) {
    (void)unused;
    static const struct distribution pairs[][2] = {
        {{DISCRETE_LAPLACE, {10, 1}}, {DISCRETE_LAPLACE, {104, 10}}},
        {{DISCRETE_GAUSSIAN, {100, 1}}, {DISCRETE_GAUSSIAN, {104, 1}}},
        {{DISCRETE_GAUSSIAN, {4, 1}}, {DISCRETE_LAPLACE, {2, 1}}},
    };
    for (size_t t = 0; t < 3; t++) {
        int freedom;
        double x = statistic(&pairs[t][0], &pairs[t][1], 400000, &freedom);
        assert_true(x > chi_square_limit(freedom));
    }
}

/* Beyond c the tail of a Laplace of scale t is 2 exp(-(c + 1) / t) / (1 + exp(-1 / t)). */
static void tails_are_right(void **unused) {
    (void)unused;
    const struct distribution laplace = {DISCRETE_LAPLACE, {50, 1}};
    const struct distribution gaussian = {DISCRETE_GAUSSIAN, {2500, 1}};
    const uint64_t n = 400000;
    uint64_t over[2] = {0}, negative = 0, zero = 0;
    struct seeded s = seeded(5);
    for (uint64_t i = 0; i < n; i++) {
        int64_t x = distribution_draw(&laplace, &s.bits), y = distribution_draw(&gaussian, &s.bits);
        over[0] += x > 400 || x < -400;
        over[1] += y > 200 || y < -200;
        negative += x < 0;
        zero += x == 0;
    }
    assert_rate(over[0], n, 2 * expl(-401 / 50.0L) / (1 + expl(-1 / 50.0L)), "Laplace's tail");
    assert_rate(over[1], n, erfcl(200.5L / (50 * sqrtl(2))), "the Gaussian's tail");
    assert_rate(negative, n, 0.5L - tanhl(1 / 100.0L) / 2, "the sign");
    assert_rate(zero, n, tanhl(1 / 100.0L), "zero");
}

static void wide_parameters_work(void **unused) {
    (void)unused;
    const struct distribution table[] = {
        {DISCRETE_LAPLACE, {LAPLACE_PART_MAX, 1}},
        {DISCRETE_LAPLACE, {1, LAPLACE_PART_MAX}},
        {DISCRETE_GAUSSIAN, {GAUSSIAN_NUM_MAX, GAUSSIAN_DEN_MAX}},
        {DISCRETE_GAUSSIAN, {GAUSSIAN_SIZE_MAX, 1}},
        {DISCRETE_GAUSSIAN, {1, GAUSSIAN_DEN_MAX}},
    };
    for (size_t t = 0; t < sizeof(table) / sizeof(table[0]); t++) {
        struct seeded s = seeded(60 + t);
        long double sum = 0, p = (long double)table[t].parameter.num / table[t].parameter.den;
        assert_true(distribution_valid(&table[t]));
        for (int i = 0; i < 20000; i++)
            sum += fabsl((long double)distribution_draw(&table[t], &s.bits));
        long double mean = sum / 20000;
        long double expected = table[t].kind == DISCRETE_LAPLACE ? p : sqrtl(2 * p / acosl(-1));
        if (p > 1)
            assert_true(fabsl(mean / expected - 1) < 0.04L);
        else
            assert_true(mean < 0.001L);
    }
    const struct distribution bad[] = {
        {DISCRETE_LAPLACE, {0, 1}},
        {DISCRETE_LAPLACE, {1, 0}},
        {DISCRETE_LAPLACE, {LAPLACE_PART_MAX + 1, 1}},
        {DISCRETE_GAUSSIAN, {GAUSSIAN_NUM_MAX + 1, GAUSSIAN_DEN_MAX}},
        {DISCRETE_GAUSSIAN, {1, GAUSSIAN_DEN_MAX + 1}},
        {DISCRETE_GAUSSIAN, {GAUSSIAN_SIZE_MAX + 1, 1}},
    };
    for (size_t t = 0; t < sizeof(bad) / sizeof(bad[0]); t++)
        assert_false(distribution_valid(&bad[t]));
}

static void roots_and_ratios(void **unused) {
    (void)unused;
    static const uint64_t n[] = {0, 1, 2, 3, 4, 8, 9, 15, 16, 1ull << 42, (1ull << 42) - 1};
    static const uint64_t root[] = {0, 1, 1, 1, 2, 2, 3, 3, 4, 1ull << 21, (1ull << 21) - 1};
    for (size_t i = 0; i < sizeof(n) / sizeof(n[0]); i++)
        assert_int_equal(root_floor(n[i]), root[i]);
    struct ratio r = ratio_reduce((struct ratio){512000000, 1000000});
    assert_true(r.num == 512 && r.den == 1);
    r = ratio_reduce((struct ratio){7, 3});
    assert_true(r.num == 7 && r.den == 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_come_in_order),     cmocka_unit_test(below_is_uniform),
        cmocka_unit_test(bernoulli_is_exact),     cmocka_unit_test(inverse_e_is_its_series),
        cmocka_unit_test(bernoulli_exp_is_exact), cmocka_unit_test(samples_fit_their_distribution),
        cmocka_unit_test(the_test_can_fail),      cmocka_unit_test(tails_are_right),
        cmocka_unit_test(wide_parameters_work),   cmocka_unit_test(roots_and_ratios),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
