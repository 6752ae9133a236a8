/* accountant.h - what answers cost in differential privacy, and how costs add up.
 *
 * A loss is a vector that composes by adding, entry for entry: pure epsilon, zCDP's rho, and the
 * Renyi divergence at a fixed set of orders.  Each entry by itself bounds (epsilon, delta) for
 * whatever was added to it, also when each next question depends on the answers before (Renyi
 * filters: Feldman, Zrnic 2021; over a set of orders: Lecuyer 2021; zCDP: Whitehouse et al. 2023).
 */
#ifndef QG_ACCOUNTANT_H
#define QG_ACCOUNTANT_H

#include "bytes.h"

enum {
    LOSS_PURE,
    LOSS_ZCDP,
    LOSS_RENYI,
    LOSS_ENTRIES = 16,
    RENYI_ORDERS = LOSS_ENTRIES - LOSS_RENYI
};

struct loss {
    double at[LOSS_ENTRIES]; /* in nats; INFINITY: no bound */
};

enum accounting { ACCOUNT_PURE, ACCOUNT_ZCDP, ACCOUNT_RENYI };

double renyi_order(int i); /* of the entry LOSS_RENYI + i */

/* Renyi divergence of order alpha > 1. */
double renyi_pure(double epsilon, double alpha);    /* the most that any epsilon-private one has */
double renyi_gaussian(double rho, double alpha);    /* rho: sensitivity^2 / 2 sigma^2 */
double renyi_laplace(double epsilon, double alpha); /* epsilon: sensitivity / scale */
/* The discrete one, of whose grid the sensitivity is `steps` points. */
double renyi_laplace_discrete(double epsilon, double steps, double alpha);
double renyi_response(double epsilon, double classes, double alpha); /* K-ary randomised response */

struct loss loss_pure(double epsilon);
struct loss loss_gaussian(double rho);
struct loss loss_laplace(double epsilon, double steps);
struct loss loss_response(double epsilon, double classes);

struct loss loss_sum(const struct loss *a, const struct loss *b);
struct loss loss_times(const struct loss *a, double n);

/* The epsilon that Renyi divergence `bound` at that order has at delta (Canonne, Kamath, Steinke
 * 2020, proposition 12). */
double renyi_epsilon(double bound, double alpha, double delta);

/* The most of each entry that (epsilon, delta) allows; 0 where the entry cannot bear it. */
struct loss loss_limit(enum accounting, double epsilon, double delta);

/* The epsilon of a loss at delta. */
double loss_epsilon(const struct loss *, enum accounting, double delta);

/* How many answers of that loss the limit allows. */
double loss_count(const struct loss *each, const struct loss *limit);

/* zCDP: the epsilon of rho at delta, and the most rho that has no more than epsilon. */
double zcdp_epsilon(double rho, double delta);
double zcdp_rho(double epsilon, double delta);

/* Of any attack on (epsilon, delta): true positives at that rate of false ones, and advantage
 * (Kairouz, Oh, Viswanath 2015). */
double attack_true_positives(double epsilon, double delta, double false_positives);
double attack_advantage(double epsilon, double delta);

/* Fixed point of 10^-12, rounded up for what is spent and down for what may be; at most `most`. */
uint64_t loss_units(double v, bool up, uint64_t most);
double loss_of_units(uint64_t units);

#endif
