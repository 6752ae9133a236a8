#include "accountant.h"

#include <math.h>

#define UNITS    1e12 /* decimal, so that ten times 0.1 is 1 */
#define NEAR     1e-3 /* of a unit: what a product of doubles may be off */
#define HALVINGS 200  /* until two doubles are neighbours */

/* Low orders for large budgets, high ones for small. */
static const double orders[RENYI_ORDERS] = {1.25, 1.5, 1.75, 2,  2.5, 3,  4,
                                            6,    8,   12,   16, 32,  64, 256};

double renyi_order(int i) {
    return orders[i];
}

/* ---- Mechanisms ---- */

/* ln(exp(a) + exp(b)) */
static double log_sum(double a, double b) {
    double most = a > b ? a : b;
    return most + log1p(exp(-fabs(a - b)));
}

double renyi_response(double epsilon, double classes, double alpha) {
    double log_q = -log_sum(epsilon, log(classes - 1)); /* of one wrong class */
    double sum = log_sum(alpha * epsilon, (1 - alpha) * epsilon);
    if (classes > 2)
        sum = log_sum(sum, log(classes - 2));
    double bound = (sum + log_q) / (alpha - 1);
    return bound > 0 ? bound : 0;
}

/* Any epsilon-private mechanism is a function of the answer of randomised response between two
 * (Kairouz, Oh, Viswanath 2015), so no other has more. */
double renyi_pure(double epsilon, double alpha) {
    return renyi_response(epsilon, 2, alpha);
}

double renyi_gaussian(double rho, double alpha) {
    return alpha * rho;
}

double renyi_laplace(double epsilon, double alpha) {
    double right = log(alpha / (2 * alpha - 1)) + (alpha - 1) * epsilon;
    double left = log((alpha - 1) / (2 * alpha - 1)) - alpha * epsilon;
    return log_sum(right, left) / (alpha - 1);
}

/* The sum over the grid in three parts: left of both means, between them, right of both.  In a row
 * of several columns it is most when one column has the whole sensitivity. */
double renyi_laplace_discrete(double epsilon, double steps, double alpha) {
    double h = epsilon / steps; /* ln of the ratio of two neighbours */
    double log_common = log(-expm1(-h)) - log1p(exp(-h));
    double outer = log_sum((alpha - 1) * epsilon, -alpha * epsilon) - log(-expm1(-h));
    double r = (2 * alpha - 1) * h, sum = outer;
    if (steps > 1)
        sum = log_sum(outer,
                      (alpha - 1) * epsilon - r + log(-expm1(-r * (steps - 1))) - log(-expm1(-r)));
    return (log_common + sum) / (alpha - 1);
}

struct loss loss_pure(double epsilon) {
    return loss_response(epsilon, 2);
}

struct loss loss_gaussian(double rho) {
    struct loss l = {.at = {[LOSS_PURE] = INFINITY, [LOSS_ZCDP] = rho}};
    for (int i = 0; i < RENYI_ORDERS; i++)
        l.at[LOSS_RENYI + i] = renyi_gaussian(rho, orders[i]);
    return l;
}

struct loss loss_laplace(double epsilon, double steps) {
    struct loss l = {.at = {[LOSS_PURE] = epsilon, [LOSS_ZCDP] = epsilon * epsilon / 2}};
    for (int i = 0; i < RENYI_ORDERS; i++)
        l.at[LOSS_RENYI + i] = renyi_laplace_discrete(epsilon, steps, orders[i]);
    return l;
}

struct loss loss_response(double epsilon, double classes) {
    struct loss l = {.at = {[LOSS_PURE] = epsilon, [LOSS_ZCDP] = epsilon * epsilon / 2}};
    for (int i = 0; i < RENYI_ORDERS; i++)
        l.at[LOSS_RENYI + i] = renyi_response(epsilon, classes, orders[i]);
    return l;
}

/* ---- Composition ---- */

struct loss loss_sum(const struct loss *a, const struct loss *b) {
    struct loss out;
    for (int i = 0; i < LOSS_ENTRIES; i++)
        out.at[i] = a->at[i] + b->at[i];
    return out;
}

struct loss loss_times(const struct loss *a, double n) {
    struct loss out;
    for (int i = 0; i < LOSS_ENTRIES; i++)
        out.at[i] = n > 0 ? a->at[i] * n : 0;
    return out;
}

double renyi_epsilon(double bound, double alpha, double delta) {
    double e = bound + log1p(-1 / alpha) - (log(delta) + log(alpha)) / (alpha - 1);
    return e > 0 ? e : 0;
}

/* By its derivative in alpha: rho - (ln(1/delta) - ln(alpha)) / (alpha-1)^2 is below zero under the
 * best order and above it beyond. */
double zcdp_epsilon(double rho, double delta) {
    double low = 1e-9, high = 1; /* alpha - 1 */
    double goal = -log(delta);
    if (rho <= 0)
        return 0;
    while (rho * high * high < goal - log1p(high))
        high *= 2;
    for (int i = 0; i < HALVINGS; i++) {
        double x = sqrt(low * high);
        if (rho * x * x < goal - log1p(x))
            low = x;
        else
            high = x;
    }
    return renyi_epsilon(renyi_gaussian(rho, 1 + high), 1 + high, delta);
}

double zcdp_rho(double epsilon, double delta) {
    double low = 0, high = epsilon + 1;
    while (zcdp_epsilon(high, delta) < epsilon)
        high *= 2;
    for (int i = 0; i < HALVINGS; i++) {
        double middle = (low + high) / 2;
        if (zcdp_epsilon(middle, delta) <= epsilon)
            low = middle;
        else
            high = middle;
    }
    return low;
}

struct loss loss_limit(enum accounting kind, double epsilon, double delta) {
    struct loss l = {.at = {0}};
    if (kind == ACCOUNT_PURE)
        l.at[LOSS_PURE] = epsilon;
    if (kind == ACCOUNT_ZCDP)
        l.at[LOSS_ZCDP] = zcdp_rho(epsilon, delta);
    for (int i = 0; i < RENYI_ORDERS && kind == ACCOUNT_RENYI; i++) {
        double a = orders[i];
        double most = epsilon - log1p(-1 / a) + (log(delta) + log(a)) / (a - 1);
        l.at[LOSS_RENYI + i] = most > 0 ? most : 0;
    }
    return l;
}

double loss_epsilon(const struct loss *l, enum accounting kind, double delta) {
    double best = INFINITY;
    if (kind == ACCOUNT_PURE)
        return l->at[LOSS_PURE];
    if (kind == ACCOUNT_ZCDP)
        return zcdp_epsilon(l->at[LOSS_ZCDP], delta);
    for (int i = 0; i < RENYI_ORDERS; i++)
        best = fmin(best, renyi_epsilon(l->at[LOSS_RENYI + i], orders[i], delta));
    return best;
}

double loss_count(const struct loss *each, const struct loss *limit) {
    double most = 0;
    for (int i = 0; i < LOSS_ENTRIES; i++)
        if (limit->at[i] > 0)
            most = fmax(most, floor(limit->at[i] / each->at[i]));
    return most;
}

/* ---- What it means ---- */

double attack_true_positives(double epsilon, double delta, double false_positives) {
    double rate = exp(epsilon) * false_positives + delta;
    double other = 1 - exp(-epsilon) * (1 - delta - false_positives);
    rate = fmin(rate, other);
    return rate < 1 ? rate : 1;
}

double attack_advantage(double epsilon, double delta) {
    double e = exp(-epsilon);
    double advantage = (1 - e + 2 * delta * e) / (1 + e);
    return advantage < 1 ? advantage : 1;
}

/* ---- Fixed point ---- */

/* Numbers that were written as decimals are themselves; to others a little is added first, which
 * covers the error of the functions above. */
uint64_t loss_units(double v, bool up, uint64_t most) {
    double scaled = v * UNITS, units = rint(scaled);
    if (!(fabs(scaled - units) < NEAR))
        units = up ? ceil(scaled * (1 + 1e-12)) : floor(scaled);
    if (!(units < (double)most))
        return most;
    return units > 0 ? (uint64_t)units : up ? 1 : 0;
}

double loss_of_units(uint64_t units) {
    return (double)units / UNITS;
}
