/* pools.h - samples drawn ahead of need, a worker's.
 *
 * How long a sample takes to draw depends on the sample.  Taken from a pool that was filled while
 * nobody waited, it takes the same time whatever it is. */
#ifndef QG_POOLS_H
#define QG_POOLS_H

#include "bytes.h"
#include "limits.h"

/* What a pool's samples are drawn from: equal ids, equal distribution. */
struct pool_id {
    uint64_t parts[3];
};

struct pool {
    struct pool_id id;
    uint64_t used; /* when it was last asked for */
    uint32_t count;
    int64_t samples[POOL_SAMPLES];
};

struct pools {
    struct pool *at[POOLS_MAX];
    uint64_t clock;
};

void pools_free(struct pools *); /* what it holds */

/* The pool of that id, empty if it is new; at POOLS_MAX the one longest unused makes room.  Good
 * until the next call.  NULL: out of memory. */
struct pool *pools_get(struct pools *, const struct pool_id *id);

#endif
