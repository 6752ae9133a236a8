#include "debts.h"

#include <stdlib.h>

#include "base/require.h"

#define SLOTS_MIN     16u
#define SLOTS_MAX     (RATE_ENTRIES_MAX / DEBT_SHARDS)
#define CACHE_LINE    64
#define FULL_PAUSE_NS UINT64_C(1000000) /* a full shard is searched for paid debts this rarely */

/* At 7/8 full an absent key looks at 33 slots on average. */
static uint32_t slots_usable(uint32_t slots) {
    return slots - slots / 8;
}

static bool same_key(struct hash128 a, struct hash128 b) {
    return a.lo == b.lo && a.hi == b.hi;
}

struct hash128 debts_key(const struct debts *b, struct bytes key) {
    struct hash128 hash = hash_bytes128(&b->hash_key, key);
    if ((hash.lo | hash.hi) == 0)
        hash.lo = 1;
    return hash;
}

struct debt *debts_find(const struct debts *b, const struct debt_shard *s, struct hash128 key,
                        uint64_t now, struct debt **spare) {
    *spare = NULL;
    for (uint32_t i = (uint32_t)key.lo & s->mask;; i = (i + 1) & s->mask) {
        struct debt *e = debts_slot(b, s, i);
        if (same_key(e->key, key))
            return e;
        if (debt_is_free(e)) {
            if (*spare == NULL)
                *spare = e;
            return NULL;
        }
        if (*spare == NULL && debt_is_paid(e, now))
            *spare = e;
    }
}

static char *slots_new(uint32_t count, uint32_t size) {
    char *slots = aligned_alloc(CACHE_LINE, (size_t)count * size);
    if (slots != NULL)
        memset(slots, 0, (size_t)count * size);
    return slots;
}

static bool is_due(const struct debt *e, uint64_t now) {
    return !debt_is_free(e) && !debt_is_paid(e, now);
}

static void move_debts(const struct debts *b, struct debt_shard *s, const char *from,
                       uint32_t count, uint64_t now) {
    s->used = 0;
    for (uint32_t i = 0; i < count; i++, from += b->size) {
        const struct debt *e = (const void *)from;
        struct debt *to;
        if (!is_due(e, now))
            continue;
        require(debts_find(b, s, e->key, now, &to) == NULL);
        memcpy(to, e, b->size);
        s->used++;
    }
}

/* Drops what is paid and makes room for twice the rest.  False: full of debts, or out of memory. */
static bool rebuild(const struct debts *b, struct debt_shard *s, uint64_t now) {
    uint32_t old_count = s->mask + 1, count = SLOTS_MIN, debts = 0;
    if (now < s->retry_rebuild_ns)
        return false;
    for (uint32_t i = 0; i < old_count; i++)
        debts += is_due(debts_slot(b, s, i), now);
    while (count < SLOTS_MAX && count / 2 < debts)
        count *= 2;
    if (count == SLOTS_MAX)
        s->retry_rebuild_ns = now + FULL_PAUSE_NS;
    if (debts >= slots_usable(count))
        return false;

    char *old = s->slots, *slots = slots_new(count, b->size);
    if (slots == NULL)
        return false;
    s->slots = slots;
    s->mask = count - 1;
    move_debts(b, s, old, old_count, now);
    free(old);
    return true;
}

struct debt *debts_insert(struct debts *b, struct debt_shard *s, struct hash128 key, uint64_t now,
                          struct debt *spare) {
    if (debt_is_free(spare)) {
        if (s->used >= slots_usable(s->mask + 1)) {
            if (!rebuild(b, s, now))
                return NULL;
            require(debts_find(b, s, key, now, &spare) == NULL);
        }
        s->used++;
    }
    memset(spare, 0, b->size);
    spare->key = key;
    return spare;
}

bool debts_open(struct debts *b, struct hash_key key, uint32_t entry_size) {
    bool whole = true;
    memset(b, 0, sizeof(*b));
    b->hash_key = key;
    b->size = entry_size;
    require(entry_size >= sizeof(struct debt) && (entry_size & (entry_size - 1)) == 0);
    for (uint32_t i = 0; i < DEBT_SHARDS; i++) {
        struct debt_shard *s = &b->shards[i];
        require(pthread_mutex_init(&s->lock, NULL) == 0);
        s->mask = SLOTS_MIN - 1;
        s->slots = slots_new(SLOTS_MIN, entry_size);
        whole = whole && s->slots != NULL;
    }
    return whole;
}

void debts_close(struct debts *b) {
    for (uint32_t i = 0; i < DEBT_SHARDS; i++) {
        pthread_mutex_destroy(&b->shards[i].lock);
        free(b->shards[i].slots);
    }
}
