/* store_memory.c - rate buckets of one gate, in memory. */
#include <stdlib.h>

#include "accounts.h"
#include "base/require.h"
#include "crypto.h"
#include "debts.h"
#include "store.h"

struct memory {
    struct store store;
    uint64_t (*now_ns)(void);
    struct debts debts;
    struct accounts *accounts;
};

static void take_locked(struct memory *m, struct debt_shard *s, struct hash128 key, uint64_t count,
                        const struct gcra *gcra, struct store_answer *out) {
    /* Read under the lock: times then follow the order in which queries are admitted. */
    uint64_t now = m->now_ns();
    struct debt *spare, *e = debts_find(&m->debts, s, key, now, &spare);
    struct span tat = gcra_tat(e != NULL ? e->tat : (struct span){0, 0}, now, count);
    if (!gcra_fits(gcra, tat, now, &out->retry_after_us))
        return;
    if (gcra->cost.ns > 0 || gcra->cost.part > 0) {
        if (e == NULL && (e = debts_insert(&m->debts, s, key, now, spare)) == NULL) {
            out->status = STORE_FAILED;
            return;
        }
        e->tat = span_sum(tat, gcra->cost, count);
    }
    out->admitted = true;
}

static enum store_status memory_take(struct store *store, struct bytes key,
                                     const struct store_rate *rate, uint64_t n, store_done_fn *done,
                                     void *cookie, struct store_answer *out) {
    struct memory *m = (struct memory *)store;
    struct gcra gcra;
    (void)done;
    (void)cookie;
    require(rate->count > 0 && rate->period_us > 0 && rate->period_us <= UINT64_MAX / 1000);

    *out = (struct store_answer){.status = STORE_DONE};
    if (n > rate->burst) {
        out->retry_after_us = UINT64_MAX;
        return STORE_DONE;
    }
    if (!gcra_of(rate, n, &gcra))
        return out->status = STORE_FAILED;

    struct hash128 hash = debts_key(&m->debts, key);
    struct debt_shard *s = debts_shard(&m->debts, hash);
    pthread_mutex_lock(&s->lock);
    take_locked(m, s, hash, rate->count, &gcra, out);
    pthread_mutex_unlock(&s->lock);
    return out->status;
}

static enum store_status memory_spend(struct store *store, struct bytes key,
                                      const struct store_budget *budget,
                                      const struct store_spending *what, store_done_fn *done,
                                      void *cookie, struct store_answer *out) {
    struct memory *m = (struct memory *)store;
    uint64_t turn;
    (void)done;
    (void)cookie;
    if (!accounts_spend(m->accounts, accounts_key(m->accounts, key), budget, what,
                        m->now_ns() / 1000, out, &turn))
        out->status = STORE_FAILED;
    return out->status;
}

static void memory_cancel(struct store *store, void *cookie) {
    (void)store; /* nothing is ever pending */
    (void)cookie;
}

static void memory_free(struct store *store) {
    struct memory *m = (struct memory *)store;
    debts_close(&m->debts);
    if (m->accounts != NULL)
        accounts_free(m->accounts);
    free(m);
}

static const struct store_ops memory_ops = {
    .name = "memory",
    .take = memory_take,
    .spend = memory_spend,
    .cancel = memory_cancel,
    .free = memory_free,
};

struct store *store_memory_new(uint64_t (*now_ns)(void)) {
    struct memory *m = aligned_alloc(_Alignof(struct memory), sizeof(*m));
    if (m == NULL)
        return NULL;
    m->store.ops = &memory_ops;
    m->now_ns = now_ns;
    m->accounts = accounts_new(crypto_hash_key());
    if (debts_open(&m->debts, crypto_hash_key(), sizeof(struct debt)) && m->accounts != NULL)
        return &m->store;
    memory_free(&m->store);
    return NULL;
}
