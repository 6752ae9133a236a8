#include "mask_lp.h"

#include <math.h>

#include "../proxy/base/require.h"

#define STEPS_MAX  100
#define BISECT_AT  20    /* lines that nearly agree may approach each other slowly */
#define VALUE_NEAR 1e-13 /* rounding of a sum of numbers up to 14 */

struct program {
    const struct mask_lp *lp;
    double c[MASK_LP_MAX];
    double sum, half;
};

/* f at M, and a line that is nowhere above f. */
struct point {
    double at, value, slope;
};

/* The part of 1 that is up to M: brings x to [0, U], in *down what that took.  Those above U are
 * the first ones. */
static void clip(const struct mask_lp *lp, double most, double *x, double *down) {
    for (uint32_t j = 1; j < lp->n; j++) {
        x[j] = lp->y[j] > most ? most : lp->y[j];
        *down += lp->y[j] - x[j];
    }
}

/* Where the next unit would go up, and where one would come down. */
struct margins {
    uint32_t up, down;
};

static void raise(const struct program *p, double most, double amount, double *x,
                  struct margins *m) {
    for (m->up = p->lp->n - 1; amount > 0; m->up--) {
        double room = most - x[m->up];
        if (amount <= room || m->up == 1) {
            x[m->up] += amount;
            return;
        }
        x[m->up] = most;
        amount -= room;
    }
}

static void lower(const struct program *p, double amount, double *x, struct margins *m) {
    for (m->down = 1; amount > 0; m->down++) {
        if (amount <= x[m->down] || m->down == p->lp->n - 1) {
            x[m->down] = fmax(x[m->down] - amount, 0);
            return;
        }
        amount -= x[m->down];
        x[m->down] = 0;
    }
}

/* From the dearest to the cheapest while that saves. */
static void exchange(const struct program *p, double most, double amount, double *x,
                     struct margins *m) {
    while (amount > 0 && m->down < m->up && p->c[m->down] > p->c[m->up]) {
        double room = most - x[m->up], there = x[m->down];
        if (room <= 0) {
            m->up--;
        } else if (there <= 0) {
            m->down++;
        } else {
            double moved = fmin(amount, fmin(room, there));
            x[m->up] = moved == room ? most : x[m->up] + moved;
            x[m->down] = there - moved;
            amount -= moved;
        }
    }
}

static double slope_of(const struct program *p, double at, const struct margins *m) {
    const double *y = p->lp->y, *c = p->c, most = at - p->lp->gap;
    double up = c[m->up], down = c[m->down], slope = c[0] - (at >= y[0] ? up : down);
    for (uint32_t j = 1; j < p->lp->n; j++) {
        double gain = c[j] - (most >= y[j] ? up : down);
        slope += gain < 0 ? gain : 0;
    }
    return slope;
}

static struct point look(const struct program *p, double at, double *x) {
    const struct mask_lp *lp = p->lp;
    double most = at - lp->gap, up = fmax(at - lp->y[0], 0), down = fmax(lp->y[0] - at, 0);
    struct margins m;
    struct point point = {.at = at};
    x[0] = at;
    clip(lp, most, x, &down);
    double moved = fmax(up, down);
    raise(p, most, moved - up, x, &m);
    lower(p, moved - down, x, &m);
    exchange(p, most, p->half - moved, x, &m);
    for (uint32_t j = 0; j < lp->n; j++)
        point.value += p->c[j] * x[j];
    point.slope = slope_of(p, at, &m);
    return point;
}

/* Of 3: numbers v_0 and v_j in falling order, the level at which h of them stands above. */
static double least_by_distance(const struct program *p) {
    const struct mask_lp *lp = p->lp;
    double sum = 0, level = 0, first = lp->y[0];
    bool first_taken = false;
    for (uint32_t k = 0, j = 1; k < lp->n; k++) {
        bool take_first = !first_taken && (j == lp->n || first >= lp->y[j] + lp->gap);
        double v = take_first ? first : lp->y[j] + lp->gap;
        if (k > 0 && level >= v)
            break;
        sum += v;
        level = (sum - p->half) / (k + 1);
        first_taken |= take_first;
        j += !take_first;
    }
    return level;
}

static double least(const struct program *p) {
    double room = (p->sum + (p->lp->n - 1) * p->lp->gap) / p->lp->n; /* all others at U */
    return fmax(fmax(least_by_distance(p), room), p->lp->floor);
}

static double crossing(const struct point *a, const struct point *b, uint32_t step) {
    double at = (b->value - a->value + a->slope * a->at - b->slope * b->at) / (a->slope - b->slope);
    return step >= BISECT_AT && step % 2 == 0 ? (a->at + b->at) / 2 : at;
}

/* Where f is least. */
static double search(const struct program *p, double *x) {
    double high = fmin(p->lp->y[0] + p->half, p->sum), low = fmin(least(p), high);
    struct point a = look(p, low, x), b = look(p, high, x);
    if (a.slope >= 0 || b.slope <= 0)
        return a.slope >= 0 ? low : high;
    struct point best = a.value < b.value ? a : b;
    for (uint32_t step = 0; step < STEPS_MAX; step++) {
        double at = crossing(&a, &b, step), bound = a.value + a.slope * (at - a.at);
        if (!(at > a.at && at < b.at))
            break;
        struct point m = look(p, at, x);
        best = m.value < best.value ? m : best;
        if (m.slope == 0 || (best.value - bound <= VALUE_NEAR && step < BISECT_AT))
            break;
        *(m.slope < 0 ? &a : &b) = m;
    }
    return best.at;
}

void mask_lp_solve(const struct mask_lp *lp, double *x) {
    struct program p = {.lp = lp, .half = lp->distance / 2};
    require(lp->n >= 1 && lp->n <= MASK_LP_MAX);
    x[0] = lp->y[0];
    if (lp->n == 1)
        return;
    for (uint32_t j = 0; j < lp->n; j++) {
        p.c[j] = log(lp->y[j] + 1e-6);
        p.sum += lp->y[j];
    }
    (void)look(&p, search(&p, x), x);
}
