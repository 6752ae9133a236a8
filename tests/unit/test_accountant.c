/* The accountant against values that Python computed from the definitions (accountant_values.py),
 * and its own laws. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
/* cmocka wants those before it. */
#include <cmocka.h>

#include "../../proxy/base/accountant.c"

#define CLOSE 1e-9

static void close_to(double got, double want, const char *what) {
    if (!(fabs(got - want) <= CLOSE * fmax(1, fabs(want))))
        fail_msg("%s: %.15g, not %.15g", what, got, want);
}

static double gaussian(double a, double b, double c) {
    (void)b;
    return renyi_gaussian(a, c);
}
static double laplace(double a, double b, double c) {
    (void)b;
    return renyi_laplace(a, c);
}
static double laplace_discrete(double a, double b, double c) {
    return renyi_laplace_discrete(a, b, c);
}
static double response(double a, double b, double c) {
    return renyi_response(a, b, c);
}
static double zcdp_epsilon_of(double a, double b, double c) {
    (void)b;
    return zcdp_epsilon(a, c);
}
static double zcdp_rho_of(double a, double b, double c) {
    (void)b;
    return zcdp_rho(a, c);
}

static const struct {
    const char *name;
    double (*f)(double, double, double);
} functions[] = {{"gaussian", gaussian},
                 {"laplace", laplace},
                 {"laplace_discrete", laplace_discrete},
                 {"response", response},
                 {"zcdp_epsilon", zcdp_epsilon_of},
                 {"zcdp_rho", zcdp_rho_of}};

static const struct {
    const char *name;
    double a, b, c, value;
} values[] = {
#define VALUE(name, a, b, c, value) {#name, a, b, c, value},
#include "accountant_values.h"
#undef VALUE
};

static void test_values(void **state) {
    (void)state;
    size_t seen = 0;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        for (size_t k = 0; k < sizeof(functions) / sizeof(functions[0]); k++)
            if (strcmp(values[i].name, functions[k].name) == 0) {
                char what[128];
                snprintf(what, sizeof(what), "%s(%g, %g, %g)", values[i].name, values[i].a,
                         values[i].b, values[i].c);
                close_to(functions[k].f(values[i].a, values[i].b, values[i].c), values[i].value,
                         what);
                seen++;
            }
    assert_int_equal(seen, sizeof(values) / sizeof(values[0]));
    assert_true(seen > 100);
}

/* What the bounds of noise and of randomize lean on. */
static void test_worst_cases(void **state) {
    (void)state;
    for (double e = 0.05; e < 8; e *= 1.7)
        for (int i = 0; i < RENYI_ORDERS; i++) {
            double a = renyi_order(i), before = renyi_pure(e, a);
            for (double steps = 1; steps < 5000; steps *= 2) { /* the finer, the less */
                double now = renyi_laplace_discrete(e, steps, a);
                assert_true(now <= before + 1e-12);
                before = now;
            }
            assert_true(renyi_laplace(e, a) <= before + 1e-12);
            assert_true(renyi_pure(e, a) <= fmin(e, a * e * e / 2) + 1e-12);
            for (double k = 3; k < 1e6; k *= 3) /* the more classes, the less */
                assert_true(renyi_response(e, k, a) <= renyi_response(e, k - 1, a) + 1e-12);
        }
}

/* A row's columns share its sensitivity: no share is worse than all in one. */
static void test_one_column_is_the_worst(void **state) {
    (void)state;
    for (int i = 0; i < RENYI_ORDERS; i++)
        for (int j = 1; j < 12; j++)
            for (int k = 1; k < 12; k++) {
                double a = renyi_order(i), h = 0.3;
                double apart =
                    renyi_laplace_discrete(h * j, j, a) + renyi_laplace_discrete(h * k, k, a);
                assert_true(apart <= renyi_laplace_discrete(h * (j + k), j + k, a) + 1e-12);
            }
}

static void test_limits(void **state) {
    (void)state;
    for (int kind = ACCOUNT_PURE; kind <= ACCOUNT_RENYI; kind++)
        for (double e = 0.1; e < 100; e *= 3) {
            struct loss limit = loss_limit((enum accounting)kind, e, 1e-6);
            double most = 0;
            for (int i = 0; i < LOSS_ENTRIES; i++) {
                struct loss full;
                for (int k = 0; k < LOSS_ENTRIES; k++)
                    full.at[k] = k == i ? limit.at[i] : INFINITY;
                if (limit.at[i] == 0)
                    continue;
                double got = loss_epsilon(&full, (enum accounting)kind, 1e-6);
                close_to(got, e, "what the limit allows");
                most = fmax(most, limit.at[i]);
            }
            assert_true(most > 0);
        }
}

static void test_counts(void **state) {
    (void)state;
    struct loss tenth = loss_pure(0.1), one = loss_limit(ACCOUNT_PURE, 1, 0);
    assert_int_equal(loss_count(&tenth, &one), 10);
    struct loss noise = loss_gaussian(0.01), zcdp = loss_limit(ACCOUNT_ZCDP, 4, 1e-6),
                renyi = loss_limit(ACCOUNT_RENYI, 4, 1e-6), pure = loss_limit(ACCOUNT_PURE, 4, 0);
    double by_rho = loss_count(&noise, &zcdp), by_renyi = loss_count(&noise, &renyi);
    close_to(by_rho, floor(zcdp_rho(4, 1e-6) / 0.01), "answers by rho");
    assert_true(by_renyi <= by_rho && by_renyi > 0.8 * by_rho);
    assert_int_equal(loss_count(&noise, &pure), 0);
    struct loss ten = loss_times(&noise, 10), none = loss_times(&noise, 0);
    close_to(ten.at[LOSS_ZCDP], 0.1, "ten times");
    assert_true(none.at[LOSS_PURE] == 0);
    struct loss sum = loss_sum(&ten, &noise);
    close_to(sum.at[LOSS_RENYI], 11 * noise.at[LOSS_RENYI], "eleven times");
}

static void test_attacks(void **state) {
    (void)state;
    close_to(attack_advantage(1, 0), (M_E - 1) / (M_E + 1), "advantage");
    close_to(attack_advantage(1, 1e-2), (M_E - 1 + 0.02) / (M_E + 1), "advantage");
    close_to(attack_true_positives(2, 0, 0.001), exp(2) * 0.001, "true positives");
    close_to(attack_true_positives(8, 0, 0.001), 1 - exp(-8) * 0.999, "the other side");
    assert_true(attack_advantage(1000, 0.1) <= 1 && attack_true_positives(1000, 0.1, 0.5) <= 1);
}

static void test_fixed_point(void **state) {
    (void)state;
    static const struct {
        double v;
        bool up;
        uint64_t units;
    } rows[] = {{0.1, true, 100000000000},
                {0.1, false, 100000000000},
                {1, true, 1000000000000},
                {0.3, false, 300000000000},
                {0, true, 1},
                {0, false, 0},
                {1e-14, true, 1},
                {1.5e-12, true, 2},
                {1.5e-12, false, 1},
                {INFINITY, true, 1000000000000000},
                {1e9, true, 1000000000000000}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t got = loss_units(rows[i].v, rows[i].up, 1000000000000000);
        if (got != rows[i].units)
            fail_msg("%g: %llu", rows[i].v, (unsigned long long)got);
    }
    for (double v = 1e-6; v < 100; v *= 1.37) {
        assert_true(loss_of_units(loss_units(v, true, 1ull << 52)) >= v * (1 - 1e-15));
        assert_true(loss_of_units(loss_units(v, false, 1ull << 52)) <= v * (1 + 1e-15));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),      cmocka_unit_test(test_worst_cases),
        cmocka_unit_test(test_limits),      cmocka_unit_test(test_one_column_is_the_worst),
        cmocka_unit_test(test_counts),      cmocka_unit_test(test_attacks),
        cmocka_unit_test(test_fixed_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
