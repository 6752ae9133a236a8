/* discrete.h - exact samples of discrete distributions, by integers alone.
 *
 * Canonne, Kamath, Steinke: "The Discrete Gaussian for Differential Privacy" (2020), algorithms 1
 * to 3, but that exp(-1) is taken by its first 256 binary digits.  No floating point comes near a
 * sample, so nothing of a distribution's shape is lost in its last bits (Mironov 2012) and the
 * support does not depend on what the noise is added to. */
#ifndef QG_DISCRETE_H
#define QG_DISCRETE_H

#include "../proxy/base/bits.h"

typedef unsigned __int128 wide;

/* A positive rational. */
struct ratio {
    uint64_t num, den;
};

enum distribution_kind { DISCRETE_LAPLACE, DISCRETE_GAUSSIAN };

/* Laplace: P(x) ~ exp(-|x| / parameter).  Gaussian: P(x) ~ exp(-x^2 / (2 parameter)), so the
 * parameter is sigma^2 (nearly the variance).  On all integers. */
struct distribution {
    enum distribution_kind kind;
    struct ratio parameter;
};

#define LAPLACE_PART_MAX  (1ull << 48) /* of num and den */
#define GAUSSIAN_NUM_MAX  (1ull << 52)
#define GAUSSIAN_DEN_MAX  (1ull << 10)
#define GAUSSIAN_SIZE_MAX (1ull << 42) /* of sigma^2 */

/* In lowest terms, which samples fastest. */
struct ratio ratio_reduce(struct ratio);

/* Within what the samplers' integers hold? */
bool distribution_valid(const struct distribution *);

/* A sample; |x| is below 2^62. */
int64_t distribution_draw(const struct distribution *, struct bits *);

/* True with probability n / d; n <= d < 2^120, d > 0. */
bool draw_bernoulli(struct bits *, wide n, wide d);

/* True with probability exp(-n / d); d > 0, d < 2^106. */
bool draw_bernoulli_exp(struct bits *, wide n, wide d);

#endif
