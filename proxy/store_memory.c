/* store_memory.c - rate buckets of one gate, in memory.
 *
 * A bucket is one time, the theoretical arrival time (TAT) of GCRA: when its debt will be paid.  It
 * is kept exactly, as nanoseconds and a part of count-ths of one, so neither over- nor
 * under-admission adds up however odd the rate.  A bucket without debt is the same as none, which
 * is what lets the table forget without loss. */
#include "store.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/require.h"
#include "crypto.h"

#define SHARDS        64u
#define SLOTS_MIN     16u
#define SLOTS_MAX     (RATE_ENTRIES_MAX / SHARDS)
#define CACHE_LINE    64
#define SPAN_NS_MAX   (UINT64_C(1) << 61) /* so that now + two spans cannot overflow */
#define FULL_PAUSE_NS UINT64_C(1000000)   /* a full shard is searched for paid debts this rarely */

/* ns + part / count nanoseconds; count is the rate's. */
struct span {
    uint64_t ns, part;
};

struct entry {
    struct hash128 key; /* both halves 0: the slot is free */
    struct span tat;
};

struct shard {
    _Alignas(CACHE_LINE) pthread_mutex_t lock;
    struct entry *slots; /* linear probing; a paid entry keeps its slot until someone needs it */
    uint32_t mask;       /* number of slots - 1 */
    uint32_t used;       /* slots that are not free, paid ones included */
    uint64_t retry_rebuild_ns;
};

struct memory {
    struct store store;
    uint64_t (*now_ns)(void);
    struct hash_key hash_key;
    struct shard shards[SHARDS];
};

/* At 7/8 full an absent key looks at 33 slots on average, two to a cache line. */
static uint32_t slots_usable(uint32_t slots) {
    return slots - slots / 8;
}

static bool is_free(const struct entry *e) {
    return (e->key.lo | e->key.hi) == 0;
}

static bool is_paid(const struct entry *e, uint64_t now) {
    return e->tat.ns < now;
}

static bool same_key(struct hash128 a, struct hash128 b) {
    return a.lo == b.lo && a.hi == b.hi;
}

/* The time `tokens` take at this rate.  False: longer than anyone will wait. */
static bool span_of(const struct store_rate *rate, uint64_t tokens, struct span *out) {
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

static struct span span_sum(struct span a, struct span b, uint64_t count) {
    bool carry = a.part >= count - b.part;
    return (struct span){a.ns + b.ns + carry, carry ? a.part - (count - b.part) : a.part + b.part};
}

/* key's entry, or NULL and in *spare the slot it may have: a paid one, else the free one that ends
 * the search (there always is one). */
static struct entry *find(const struct shard *s, struct hash128 key, uint64_t now,
                          struct entry **spare) {
    *spare = NULL;
    for (uint32_t i = (uint32_t)key.lo & s->mask;; i = (i + 1) & s->mask) {
        struct entry *e = &s->slots[i];
        if (same_key(e->key, key))
            return e;
        if (is_free(e)) {
            if (*spare == NULL)
                *spare = e;
            return NULL;
        }
        if (*spare == NULL && is_paid(e, now))
            *spare = e;
    }
}

static struct entry *slots_new(uint32_t count) {
    struct entry *slots = aligned_alloc(CACHE_LINE, count * sizeof(*slots));
    if (slots != NULL)
        memset(slots, 0, count * sizeof(*slots));
    return slots;
}

static void move_debts(struct shard *s, struct entry *from, uint32_t count, uint64_t now) {
    s->used = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct entry *to;
        if (is_free(&from[i]) || is_paid(&from[i], now))
            continue;
        require(find(s, from[i].key, now, &to) == NULL);
        *to = from[i];
        s->used++;
    }
}

/* Drops what is paid and makes room for twice the rest.  False: full of debts, or out of memory. */
static bool rebuild(struct shard *s, uint64_t now) {
    uint32_t old_count = s->mask + 1, count = SLOTS_MIN, debts = 0;
    if (now < s->retry_rebuild_ns)
        return false;
    for (uint32_t i = 0; i < old_count; i++)
        debts += !is_free(&s->slots[i]) && !is_paid(&s->slots[i], now);
    while (count < SLOTS_MAX && count / 2 < debts)
        count *= 2;
    if (count == SLOTS_MAX)
        s->retry_rebuild_ns = now + FULL_PAUSE_NS;
    if (debts >= slots_usable(count))
        return false;

    struct entry *old = s->slots, *slots = slots_new(count);
    if (slots == NULL)
        return false;
    s->slots = slots;
    s->mask = count - 1;
    move_debts(s, old, old_count, now);
    free(old);
    return true;
}

/* A new entry for key at spare or, after making room, elsewhere.  NULL: no room. */
static struct entry *insert(struct shard *s, struct hash128 key, uint64_t now,
                            struct entry *spare) {
    if (is_free(spare)) {
        if (s->used >= slots_usable(s->mask + 1)) {
            if (!rebuild(s, now))
                return NULL;
            require(find(s, key, now, &spare) == NULL);
        }
        s->used++;
    }
    spare->key = key;
    return spare;
}

/* GCRA: n tokens cost `cost` and fit while the debt is at most `slack`, what the rest of the burst
 * is worth. */
static void shard_take(struct shard *s, struct hash128 key, uint64_t count, uint64_t now,
                       struct span cost, struct span slack, struct store_answer *out) {
    struct entry *spare, *e = find(s, key, now, &spare);
    struct span tat = e != NULL && !is_paid(e, now) ? e->tat : (struct span){now, 0};
    if (tat.part >=
        count) /* left by another rate under the same key: its part means nothing here */
        tat = (struct span){tat.ns + 1, 0};

    uint64_t debt = tat.ns - now;
    if (debt > slack.ns || (debt == slack.ns && tat.part > slack.part)) {
        uint64_t wait = debt - slack.ns + (tat.part > slack.part);
        out->retry_after_us = (wait + 999) / 1000;
        return;
    }
    if (cost.ns > 0 || cost.part > 0) {
        if (e == NULL && (e = insert(s, key, now, spare)) == NULL) {
            out->status = STORE_FAILED;
            return;
        }
        e->tat = span_sum(tat, cost, count);
    }
    out->admitted = true;
}

static enum store_status memory_take(struct store *store, struct bytes key,
                                     const struct store_rate *rate, uint64_t n, store_done_fn *done,
                                     void *cookie, struct store_answer *out) {
    struct memory *m = (struct memory *)store;
    struct span cost, slack;
    (void)done;
    (void)cookie;
    require(rate->count > 0 && rate->period_us > 0 && rate->period_us <= UINT64_MAX / 1000);

    *out = (struct store_answer){.status = STORE_DONE};
    if (n > rate->burst) {
        out->retry_after_us = UINT64_MAX;
        return STORE_DONE;
    }
    if (!span_of(rate, n, &cost) || !span_of(rate, rate->burst - n, &slack))
        return out->status = STORE_FAILED;

    struct hash128 hash = hash_bytes128(&m->hash_key, key);
    if ((hash.lo | hash.hi) == 0)
        hash.lo = 1;
    struct shard *s = &m->shards[hash.hi % SHARDS];
    pthread_mutex_lock(&s->lock);
    /* Read under the lock: times then follow the order in which queries are admitted. */
    shard_take(s, hash, rate->count, m->now_ns(), cost, slack, out);
    pthread_mutex_unlock(&s->lock);
    return out->status;
}

static void memory_cancel(struct store *store, void *cookie) {
    (void)store; /* nothing is ever pending */
    (void)cookie;
}

static void memory_free(struct store *store) {
    struct memory *m = (struct memory *)store;
    for (uint32_t i = 0; i < SHARDS; i++) {
        pthread_mutex_destroy(&m->shards[i].lock);
        free(m->shards[i].slots);
    }
    free(m);
}

static const struct store_ops memory_ops = {
    .name = "memory",
    .take = memory_take,
    .cancel = memory_cancel,
    .free = memory_free,
};

struct store *store_memory_new(uint64_t (*now_ns)(void)) {
    struct memory *m = aligned_alloc(CACHE_LINE, sizeof(*m));
    bool whole = true;
    if (m == NULL)
        return NULL;
    memset(m, 0, sizeof(*m));
    m->store.ops = &memory_ops;
    m->now_ns = now_ns;
    m->hash_key = crypto_hash_key();
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct shard *s = &m->shards[i];
        require(pthread_mutex_init(&s->lock, NULL) == 0);
        s->mask = SLOTS_MIN - 1;
        s->slots = slots_new(SLOTS_MIN);
        whole = whole && s->slots != NULL;
    }
    if (whole)
        return &m->store;
    memory_free(&m->store);
    return NULL;
}
