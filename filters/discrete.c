#include "discrete.h"

#include <math.h>

#include "../proxy/base/require.h"

#define TERMS_MAX   (1u << 14) /* reached with probability below 1 / TERMS_MAX! */
#define STEPS_MAX   (1u << 13) /* of a geometric variable: exp(-8192) */
#define STEPS_FIXED 8
#define SPREAD_MAX  1024 /* scales from 0 to a sample: exp(-1024) */
#define DIGIT_BITS  8
#define NARROW_BITS (64 - DIGIT_BITS)
#define WIDE_BITS   (128 - DIGIT_BITS)

struct ratio ratio_reduce(struct ratio r) {
    uint64_t a = r.num, b = r.den;
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a > 1 ? (struct ratio){r.num / a, r.den / a} : r;
}

bool distribution_valid(const struct distribution *d) {
    struct ratio r = d->parameter;
    if (r.num == 0 || r.den == 0)
        return false;
    if (d->kind == DISCRETE_LAPLACE)
        return r.num <= LAPLACE_PART_MAX && r.den <= LAPLACE_PART_MAX;
    return r.num <= GAUSSIAN_NUM_MAX && r.den <= GAUSSIAN_DEN_MAX &&
           r.num / r.den <= GAUSSIAN_SIZE_MAX;
}

/* n / d digit by digit against random digits of base 2^8: the first that differs decides, nearly
 * always the first.  No quotient is ever made, nor rounded: whether the one drawn is the digit
 * shows by multiplying it. */
static bool bernoulli_narrow(struct bits *b, uint64_t n, uint64_t d) {
    while (n != 0) {
        uint64_t least = bits_take(b, DIGIT_BITS) * d;
        n <<= DIGIT_BITS;
        if (least + d <= n)
            return true;
        if (least > n)
            return false;
        n -= least;
    }
    return false;
}

static bool bernoulli_wide(struct bits *b, wide n, wide d) {
    while (n != 0) {
        wide least = bits_take(b, DIGIT_BITS) * d;
        n <<= DIGIT_BITS;
        if (least + d <= n)
            return true;
        if (least > n)
            return false;
        n -= least;
    }
    return false;
}

bool draw_bernoulli(struct bits *b, wide n, wide d) {
    require(d > 0 && n <= d && d >> WIDE_BITS == 0);
    if (n == d)
        return true;
    return d >> NARROW_BITS == 0 ? bernoulli_narrow(b, (uint64_t)n, (uint64_t)d)
                                 : bernoulli_wide(b, n, d);
}

/* The first 256 binary digits of exp(-1). */
static const unsigned char inverse_e[] = {
    0x5e, 0x2d, 0x58, 0xd8, 0xb3, 0xbc, 0xdf, 0x1a, 0xba, 0xde, 0xc7, 0x82, 0x90, 0x54, 0xf9, 0x0d,
    0xda, 0x98, 0x05, 0xaa, 0xb5, 0x6c, 0x77, 0x33, 0x30, 0x24, 0xb9, 0xd0, 0xa5, 0x07, 0xda, 0xed};

/* Random digits against those of exp(-1) from the i-th on.  What is behind the last would be asked
 * for once in 2^256 draws. */
static bool inverse_e_from(struct bits *b, size_t i) {
    for (; i < sizeof(inverse_e); i++) {
        unsigned char drawn = (unsigned char)bits_take(b, 8);
        if (drawn != inverse_e[i])
            return drawn < inverse_e[i];
    }
    return false;
}

/* True with probability exp(-1). */
static bool bernoulli_inverse_e(struct bits *b) {
    return inverse_e_from(b, 0);
}

/* Algorithm 1 for n <= d: the alternating series of exp, a term a step. */
static bool bernoulli_exp_unit(struct bits *b, wide n, wide d) {
    unsigned k = 1;
    while (k < TERMS_MAX && draw_bernoulli(b, n, d * k))
        k++;
    return k % 2 == 1;
}

bool draw_bernoulli_exp(struct bits *b, wide n, wide d) {
    require(d > 0 && d < (wide)1 << 106);
    for (; n > d; n -= d)
        if (!bernoulli_inverse_e(b))
            return false;
    return bernoulli_exp_unit(b, n, d);
}

/* How often exp(-1) comes true in a row.  The first of them are always drawn, so that the time does
 * not tell the number, but for one in 3000 that are more.  Their first digits are drawn together
 * and compared without a branch; those that are equal, one in 256, are decided by further ones. */
static uint64_t draw_steps(struct bits *b) {
    uint64_t steps = 0, all = 1, digits = bits_take(b, 8 * STEPS_FIXED);
    for (int i = 0; i < STEPS_FIXED; i++) {
        unsigned drawn = digits >> 8 * i & 0xff;
        uint64_t true_now = drawn < inverse_e[0];
        if (drawn == inverse_e[0])
            true_now = inverse_e_from(b, 1);
        all &= true_now;
        steps += all;
    }
    while (all && steps < STEPS_MAX && bernoulli_inverse_e(b))
        steps++;
    return steps;
}

/* Algorithm 2. */
static int64_t draw_laplace(struct bits *b, struct ratio scale) {
    for (;;) {
        uint64_t u = bits_below(b, scale.num);
        if (!draw_bernoulli_exp(b, u, scale.num))
            continue;
        uint64_t v = draw_steps(b), x = (u + scale.num * v) / scale.den;
        bool negative = bits_take(b, 1) != 0;
        if (negative && x == 0)
            continue;
        return negative ? -(int64_t)x : (int64_t)x;
    }
}

/* The processor's root is a guess that integers correct. */
static uint64_t root_floor(uint64_t n) {
    uint64_t root = (uint64_t)sqrt((double)n);
    while (root * root > n)
        root--;
    while ((root + 1) * (root + 1) <= n)
        root++;
    return root;
}

/* Algorithm 3: a Laplace of scale t, kept with exp(-(|y| - sigma^2 / t)^2 / (2 sigma^2)). */
static int64_t draw_gaussian(struct bits *b, struct ratio square) {
    uint64_t t = root_floor(square.num / square.den) + 1;
    for (;;) {
        int64_t y = draw_laplace(b, (struct ratio){t, 1});
        uint64_t size = (uint64_t)(y < 0 ? -y : y);
        if (size > t * SPREAD_MAX)
            continue;
        wide a = (wide)size * square.den * t, p = square.num;
        wide gap = a > p ? a - p : p - a;
        if (draw_bernoulli_exp(b, gap * gap, 2 * p * square.den * t * t))
            return y;
    }
}

int64_t distribution_draw(const struct distribution *d, struct bits *b) {
    return d->kind == DISCRETE_LAPLACE ? draw_laplace(b, d->parameter)
                                       : draw_gaussian(b, d->parameter);
}
