/* debts.h - what clients owe: a bounded table under sharded locks, and the arithmetic of GCRA.
 *
 * A bucket's debt is one time, the theoretical arrival time (TAT): when it will be paid.  It is
 * kept exactly, as nanoseconds and a part of count-ths of one, so neither over- nor under-admission
 * adds up however odd the rate.  A bucket without debt is the same as none, which is what lets the
 * table forget without loss.
 *
 * A store's own entries begin with struct debt; they are forgotten when that is paid. */
#ifndef QG_DEBTS_H
#define QG_DEBTS_H

#include <pthread.h>

#include "base/hash.h"
#include "base/limits.h"
#include "store.h"

#define DEBT_SHARDS 64u
#define SPAN_NS_MAX (UINT64_C(1) << 61) /* so that now + two spans cannot overflow */

/* ns + part / count nanoseconds; count is the rate's. */
struct span {
    uint64_t ns, part;
};

struct debt {
    struct hash128 key; /* both halves 0: the slot is free */
    struct span tat;
};

struct debt_shard {
    _Alignas(64) pthread_mutex_t lock;
    char *slots;   /* linear probing; a paid entry keeps its slot until someone needs it */
    uint32_t mask; /* number of slots - 1 */
    uint32_t used; /* slots that are not free, paid ones included */
    uint64_t retry_rebuild_ns;
};

struct debts {
    struct hash_key hash_key;
    uint32_t size; /* of an entry: a power of two */
    struct debt_shard shards[DEBT_SHARDS];
};

MUST bool debts_open(struct debts *b, struct hash_key key, uint32_t entry_size);
void debts_close(struct debts *b); /* also after an open that failed */

/* What stands for key in the table; never both halves 0. */
struct hash128 debts_key(const struct debts *b, struct bytes key);

static inline struct debt_shard *debts_shard(struct debts *b, struct hash128 key) {
    return &b->shards[key.hi % DEBT_SHARDS];
}

/* The rest is called with the shard locked. */

static inline struct debt *debts_slot(const struct debts *b, const struct debt_shard *s,
                                      uint32_t i) {
    return (struct debt *)(void *)(s->slots + (size_t)i * b->size);
}
static inline bool debt_is_free(const struct debt *e) {
    return (e->key.lo | e->key.hi) == 0;
}
static inline bool debt_is_paid(const struct debt *e, uint64_t now) {
    return e->tat.ns < now;
}

/* key's entry, or NULL and in *spare the slot it may have: a paid one, else the free one that ends
 * the search (there always is one). */
struct debt *debts_find(const struct debts *b, const struct debt_shard *s, struct hash128 key,
                        uint64_t now, struct debt **spare);

/* A new entry for key, zeroed but for it, at spare or, after making room, elsewhere.  NULL: the
 * shard is full of debts, or out of memory. */
struct debt *debts_insert(struct debts *b, struct debt_shard *s, struct hash128 key, uint64_t now,
                          struct debt *spare);

/* ---- GCRA ---- */

/* The time `tokens` take at this rate.  False: longer than anyone will wait. */
static inline bool span_of(const struct store_rate *rate, uint64_t tokens, struct span *out) {
    uint64_t period_ns = rate->period_us * 1000, small;
    if (!__builtin_mul_overflow(tokens, period_ns, &small)) {
        *out = (struct span){small / rate->count, small % rate->count};
        return out->ns < SPAN_NS_MAX;
    }
    unsigned __int128 product = (unsigned __int128)tokens * period_ns;
    if (product / rate->count >= SPAN_NS_MAX)
        return false;
    *out = (struct span){(uint64_t)(product / rate->count), (uint64_t)(product % rate->count)};
    return true;
}

static inline struct span span_sum(struct span a, struct span b, uint64_t count) {
    bool carry = a.part >= count - b.part;
    return (struct span){a.ns + b.ns + carry, carry ? a.part - (count - b.part) : a.part + b.part};
}

/* What n tokens cost at a rate, and the debt up to which they still fit: what the rest of the burst
 * is worth. */
struct gcra {
    struct span cost, slack;
};

/* False: the burst is longer than anyone will wait.  n is at most the burst. */
static inline bool gcra_of(const struct store_rate *rate, uint64_t n, struct gcra *out) {
    return span_of(rate, n, &out->cost) && span_of(rate, rate->burst - n, &out->slack);
}

/* True: the tokens fit behind a debt that ends at tat (not before now); else *retry_after_us. */
static inline bool gcra_fits(const struct gcra *g, struct span tat, uint64_t now,
                             uint64_t *retry_after_us) {
    uint64_t debt = tat.ns - now;
    if (debt < g->slack.ns || (debt == g->slack.ns && tat.part <= g->slack.part))
        return true;
    *retry_after_us = (debt - g->slack.ns + (tat.part > g->slack.part) + 999) / 1000;
    return false;
}

/* tat as this rate can use it: not before now, and no part that another rate left under the key. */
static inline struct span gcra_tat(struct span tat, uint64_t now, uint64_t count) {
    if (tat.ns < now)
        return (struct span){now, 0};
    return tat.part < count ? tat : (struct span){tat.ns + 1, 0};
}

#endif
