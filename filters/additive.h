/* additive.h - noise added to numbers on a grid of 2^-grid: configuration, calibration, addition.
 *
 * Numbers become integers before anything else happens (to the nearest grid point, half to even),
 * noise and sum are integers, and integers are divided by 2^grid, exactly, at the very end. */
#ifndef QG_ADDITIVE_H
#define QG_ADDITIVE_H

#include "discrete.h"
#include "sticky.h"

struct additive_conf {
    int mechanism;   /* enum distribution_kind */
    int calibration; /* 0 zcdp, 1 analytic */
    double epsilon, delta, scale;
    uint64_t grid; /* binary digits after the point */
    struct sticky_conf sticky;

    double sigma; /* made by additive_check: of a Gaussian for sensitivity 1 */
};

extern const char *const additive_mechanisms[], *const additive_calibrations[];

/* The rows of `struct conf`'s member `field`, for a table of options. */
#define ADDITIVE_OPTIONS(conf, field)                                                              \
    {.name = "mechanism",                                                                          \
     .type = OPTION_WORD,                                                                          \
     .offset = offsetof(conf, field.mechanism),                                                    \
     .fallback = "discrete_laplace",                                                               \
     .words = additive_mechanisms,                                                                 \
     .says = "What the noise is drawn from, exactly, in integers."},                               \
        {.name = "epsilon",                                                                        \
         .type = OPTION_REAL,                                                                      \
         .offset = offsetof(conf, field.epsilon),                                                  \
         .min = 1e-3,                                                                              \
         .max = 100,                                                                               \
         .says = "Noise for this much differential privacy of each row of each output. Give this " \
                 "or `scale`."},                                                                   \
        {.name = "delta",                                                                          \
         .type = OPTION_REAL,                                                                      \
         .offset = offsetof(conf, field.delta),                                                    \
         .min = 1e-15,                                                                             \
         .max = 0.1,                                                                               \
         .says =                                                                                   \
             "With `epsilon` and discrete_gaussian: the probability left out of the promise."},    \
        {.name = "calibration",                                                                    \
         .type = OPTION_WORD,                                                                      \
         .offset = offsetof(conf, field.calibration),                                              \
         .fallback = "zcdp",                                                                       \
         .words = additive_calibrations,                                                           \
         .says = "How sigma follows from epsilon and delta: zcdp is proven for the discrete "      \
                 "Gaussian; analytic (Balle and Wang) is exact for the continuous one, about a "   \
                 "tenth smaller, and for the discrete one a limit of fine grids."},                \
        {.name = "scale",                                                                          \
         .type = OPTION_REAL,                                                                      \
         .offset = offsetof(conf, field.scale),                                                    \
         .min = 1e-6,                                                                              \
         .max = 1e6,                                                                               \
         .says = "Noise of this width, in the output's unit, with no promise: Laplace's b or "     \
                 "Gauss's sigma. Give this or `epsilon`."},                                        \
        {.name = "grid",                                                                           \
         .type = OPTION_COUNT,                                                                     \
         .offset = offsetof(conf, field.grid),                                                     \
         .max = ADDITIVE_GRID_MAX,                                                                 \
         .fallback = "8",                                                                          \
         .says = "Numbers are multiples of 2^-grid, before and after the noise."},                 \
        STICKY_OPTIONS(conf, field.sticky)

#define ADDITIVE_GRID_MAX 15     /* as many decimals print such a number */
#define ADDITIVE_UNIT_MAX 0x1p53 /* numbers in grid units are below it, before and after */

/* optional: there may be no noise at all. */
MUST bool additive_check(struct additive_conf *, bool optional, struct conf_error *);

bool additive_on(const struct additive_conf *); /* is there noise? */

/* How far two answers can be apart, in grid units: the sum of the columns' distances, and the sum
 * of their squares. */
struct sensitivity {
    wide l1, l2_squared;
};

/* False: with that sensitivity (only looked at with epsilon) the noise would be too wide. */
MUST bool additive_distribution(const struct additive_conf *, const struct sensitivity *,
                                struct distribution *out);

/* Noise in grid units for the row's columns: column i is element classes[i].index, or i where
 * classes is NULL. */
struct additive {
    const struct additive_conf *conf;
    struct distribution from;
    struct sticky sticky;
    struct pool *pool; /* where the noise is not sticky */
    unsigned char what[64];
};

/* filter: the name of it.  False: out of memory. */
MUST bool additive_begin(struct additive *, const struct filter_call *,
                         const struct additive_conf *, const struct distribution *,
                         const struct predictions *, const char *filter);
void additive_end(struct additive *);

/* Adds to units[0..cols); sums stay within ADDITIVE_UNIT_MAX.  False: out of memory. */
MUST bool additive_row(struct additive *, const struct output *o, uint32_t row, int64_t *units,
                       uint32_t cols, struct bytes who);

/* What such a filter keeps of a query: its state. */
struct additive_state {
    struct distribution from; /* of the last output */
    uint64_t taken;           /* samples of it, from the pool */
};

/* For on_answer: change is given each output of these kinds (bits 1 << OUT_...) that is released
 * and has numbers. */
typedef struct verdict additive_change_fn(struct filter_call *, const struct predictions *,
                                          struct output *);
struct verdict additive_answer(struct filter_call *, struct predictions *, unsigned kinds,
                               additive_change_fn *change);

/* For on_close, after the reply: makes up for the samples that were taken. */
void additive_close(struct filter_call *);

/* The row's numbers in grid units.  False: one is not finite or too large. */
MUST bool additive_units(const double *values, uint32_t cols, uint64_t grid, int64_t *units);

/* And back, as o's datatype can hold them. */
void additive_release(struct output *o, uint32_t row, uint64_t grid, const int64_t *units);

/* After the last row: how the numbers are printed. */
void additive_released(struct output *o, uint64_t grid);

/* What an epsilon and delta bound, and how they add up. */
void additive_explain_bound(double epsilon, double delta, struct buf *out);

/* What it promises where a row's sensitivity is at least `steps` grid units (the fewer, the more it
 * costs).  covers is the caller's. */
MUST bool additive_privacy(const struct additive_conf *, double steps, struct privacy *out);

/* Lines about the noise.  s: NULL without epsilon, or where it depends on the columns. */
void additive_explain(const struct additive_conf *, const struct sensitivity *s, struct buf *out);

#endif
