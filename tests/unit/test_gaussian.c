/* The reference values were computed with scipy: roots of norm.cdf expressions, and a bounded
 * minimisation over the order where ours bisects a derivative. */
#include "../../filters/gaussian.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct {
    double epsilon, delta, analytic, zcdp;
} table[] = {
    {1, 1e-5, 3.7306316348159436, 4.045130358292444},
    {0.1, 1e-6, 36.304690426196, 39.46392046810955},
    {4, 1e-9, 1.4878036771034653, 1.5567604892051088},
    {8, 1e-6, 0.6529353843582161, 0.6892920154304961},
    {0.5, 1e-10, 11.436239995091942, 11.995196984728826},
    {20, 1e-6, 0.309084681218861, 0.3231064805070252},
};

static void assert_near(double got, double expected, double relative) {
    if (!(fabs(got / expected - 1) < relative))
        fail_msg("%.15g, expected %.15g", got, expected);
}

static void sigmas_match_the_reference(void **unused) {
    (void)unused;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_near(gaussian_sigma_analytic(table[i].epsilon, table[i].delta), table[i].analytic,
                    1e-9);
        assert_near(gaussian_sigma_zcdp(table[i].epsilon, table[i].delta), table[i].zcdp, 1e-7);
    }
}

/* What is calibrated keeps its promise, and hardly more than it. */
static void deltas_come_back(void **unused) {
    (void)unused;
    static const double epsilons[] = {0.001, 0.01, 0.3, 1, 5, 30, 100};
    static const double deltas[] = {1e-15, 1e-9, 1e-3, 0.1};
    for (size_t e = 0; e < 7; e++)
        for (size_t d = 0; d < 4; d++) {
            double sigma = gaussian_sigma_analytic(epsilons[e], deltas[d]);
            assert_true(gaussian_delta(sigma, epsilons[e]) <= deltas[d]);
            assert_true(gaussian_delta(sigma * 0.9999, epsilons[e]) > deltas[d]);
            double wider = gaussian_sigma_zcdp(epsilons[e], deltas[d]);
            assert_true(zcdp_delta(0.5 / wider / wider, epsilons[e]) <= deltas[d] * (1 + 1e-9));
            assert_true(zcdp_delta(0.5 / wider / wider * 1.0002, epsilons[e]) > deltas[d]);
            assert_true(wider >= sigma);
        }
}

/* The discrete Gaussian's own delta in one dimension, by summing: below what zCDP says, and on a
 * grid of a few steps a sigma next to the analytic one. */
static void the_discrete_one_is_covered(void **unused) {
    (void)unused;
    static const int64_t sensitivities[] = {1, 4, 64};
    for (int i = 0; i < 3; i++) {
        int64_t d = sensitivities[i];
        double epsilon = 1, sigma = gaussian_sigma_zcdp(epsilon, 1e-5) * (double)d;
        long double delta = 0, sum = 0;
        for (int64_t x = -40000; x <= 40000; x++) {
            long double p = expl(-(long double)(x * x) / (2 * sigma * sigma));
            long double q = expl(-(long double)((x - d) * (x - d)) / (2 * sigma * sigma));
            sum += p;
            if (p > expl(epsilon) * q)
                delta += p - expl(epsilon) * q;
        }
        delta /= sum;
        assert_true(delta < 1e-5L);
        assert_near((double)delta, gaussian_delta(sigma / (double)d, epsilon), 0.05);
    }
}

static void no_noise_no_privacy(void **unused) {
    (void)unused;
    assert_true(gaussian_delta(1e-3, 1) > 0.99);
    assert_true(zcdp_delta(1e6, 1) == 1);
    assert_true(zcdp_delta(0, 1) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sigmas_match_the_reference),
        cmocka_unit_test(deltas_come_back),
        cmocka_unit_test(the_discrete_one_is_covered),
        cmocka_unit_test(no_noise_no_privacy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
