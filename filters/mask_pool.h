/* mask_pool.h - answers to random inputs, whose values stand in for those of real ones.
 *
 * A file of rows of probabilities: JSON, an array of numbers a line; or NumPy's .npy of version 1
 * or 2, a C-ordered matrix of <f4 or <f8. */
#ifndef QG_MASK_POOL_H
#define QG_MASK_POOL_H

#include <pthread.h>

#include "../proxy/base/arena.h"
#include "../proxy/base/bits.h"
#include "../proxy/base/limits.h"

struct mask_pool {
    uint32_t rows, cols;
    float *values; /* each row with the greatest first */
    pthread_mutex_t lock;
    uint32_t *order; /* which rows are dealt next; a permutation */
    uint32_t dealt;  /* of this pass */
};

/* NULL: why it is no such file.  All of it lives in the arena. */
MUST struct mask_pool *mask_pool_read(struct arena *, struct bytes file, char why[160]);

/* The row that is next: all are dealt once before any comes again, and each order is as likely. */
const float *mask_pool_deal(struct mask_pool *, struct bits *);

/* One of all rows. */
const float *mask_pool_pick(const struct mask_pool *, struct bits *);

#endif
