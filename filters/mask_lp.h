/* mask_lp.h - ModelGuard-W (Tang, Dai, Yao, Zeng, Zhang: USENIX Security 2024) for one row,
 * exactly.
 *
 *   min  sum_j c_j x_j,  c_j = log(y_j + 1e-6)
 *   s.t. x >= 0, sum x = sum y, |x - y|_1 <= distance, x_0 >= x_j + gap (j > 0), x_0 >= floor
 *
 * where y_0 is the best.  Why the answer is exact:
 *
 * 1. For a given M = x_0 the others lie in [0, U], U = M - gap.  Those with y_j > U must come down
 *    to it at least.  As the sum is kept, what goes down in all equals what goes up in all, and
 *    |x - y|_1 <= distance says that each is at most h = distance / 2.  So a forced part goes down
 *    (M below y_0, and what stands above U) or up (M above y_0); the difference of the two must be
 *    moved besides, and any more is a choice.  Going up costs c_j a unit and is cheapest from the
 *    lowest c; going down saves c_j and is best from the highest.  The cost of the s-th unit up
 *    never falls in s, nor does the saving of the s-th down rise: the greedy that moves the forced
 *    amount, then more while it saves and h lasts, is best among all x with this M.
 * 2. Its value f(M) is convex and piecewise linear in M, as that of any linear program is in its
 *    right-hand side.  Of the two marginal costs, c_a up and c_z down, a dual solution follows:
 *    with them, by weak duality, f(M') >= f(M) + slope (M' - M) for every M', where
 *    slope = c_0 - (M >= y_0 ? c_a : c_z) + sum_j min(0, c_j - (U >= y_j ? c_a : c_z)).
 * 3. The least M that h allows solves sum_j max(v_j - M, 0) = h, v_0 = y_0, v_j = y_j + gap; the
 *    greatest is min(y_0 + h, sum y).  Between a falling line on the left and a rising one on the
 *    right no value is below where they cross; the point there replaces one of them, until the
 *    bound and the best value found agree. */
#ifndef QG_MASK_LP_H
#define QG_MASK_LP_H

#include <stdbool.h>
#include <stdint.h>

#define MASK_LP_MAX 1000 /* numbers in a row */

struct mask_lp {
    const double *y; /* n numbers >= 0, the greatest first, none above the one before it */
    uint32_t n;
    double distance, gap, floor;
};

/* Writes the n numbers of a best x, in y's order.  There is one if 0 < 3 gap <= sum y,
 * 2 gap <= distance and floor <= y_0 + gap. */
void mask_lp_solve(const struct mask_lp *, double *x);

#endif
