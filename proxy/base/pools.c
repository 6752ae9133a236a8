#include "pools.h"

#include <stdlib.h>

void pools_free(struct pools *p) {
    for (unsigned i = 0; i < POOLS_MAX; i++) {
        free(p->at[i]);
        p->at[i] = NULL;
    }
}

struct pool *pools_get(struct pools *p, const struct pool_id *id) {
    unsigned oldest = 0;
    for (unsigned i = 0; i < POOLS_MAX; i++) {
        struct pool *pool = p->at[i];
        if (pool != NULL && memcmp(&pool->id, id, sizeof(*id)) == 0) {
            pool->used = ++p->clock;
            return pool;
        }
        if (p->at[oldest] != NULL && (pool == NULL || pool->used < p->at[oldest]->used))
            oldest = i;
    }
    if (p->at[oldest] == NULL && (p->at[oldest] = malloc(sizeof(struct pool))) == NULL)
        return NULL;
    p->at[oldest]->id = *id;
    p->at[oldest]->used = ++p->clock;
    p->at[oldest]->count = 0;
    return p->at[oldest];
}
