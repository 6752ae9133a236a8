/* Leases of workers that are threads: each token once, and all of them. */
#include "../../proxy/store_lease.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <cmocka.h>

enum { THREADS = 4, RACE_KEYS = 3, RACE_ASKS = 20000 };

static struct {
    struct source source;
    pthread_mutex_t lock;
    uint64_t left[RACE_KEYS]; /* of each bucket; time stands still */
    struct bucket names[RACE_KEYS];
    _Atomic uint64_t admitted[RACE_KEYS];
    struct leases *leases;
} race = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t *race_left(const struct bucket *b) {
    for (int i = 0; i < RACE_KEYS; i++)
        if (memcmp(&race.names[i], b, sizeof(*b)) == 0)
            return &race.left[i];
    abort();
}

static enum store_status race_ask(struct source *source, const struct bucket *b,
                                  const struct store_rate *rate, uint64_t n, uint64_t extra,
                                  store_done_fn *done, void *cookie, struct store_answer *out) {
    (void)source, (void)rate, (void)done, (void)cookie;
    *out = (struct store_answer){.status = STORE_DONE};
    pthread_mutex_lock(&race.lock);
    uint64_t *left = race_left(b);
    out->admitted = *left >= n;
    if (out->admitted) {
        out->granted = *left - n < extra ? *left - n : extra;
        *left -= n + out->granted;
    }
    pthread_mutex_unlock(&race.lock);
    return STORE_DONE;
}

static bool race_settle(struct source *source, const struct bucket *b,
                        const struct store_rate *rate, bool charge, uint64_t tokens) {
    (void)source, (void)rate, (void)charge;
    pthread_mutex_lock(&race.lock);
    *race_left(b) += tokens;
    pthread_mutex_unlock(&race.lock);
    return true;
}

static const struct source_ops race_ops = {.ask = race_ask, .settle = race_settle};
static const struct store_rate raced = {1, 1000000, 1000, .on_failure = STORE_LOCAL};

/* Each thread has a clock that runs, so that leases end and refusals are forgotten. */
static _Thread_local uint64_t own_us;

static uint64_t own_clock(void) {
    return own_us;
}

static void *race_run(void *unused) {
    struct store *s = store_lease_new(race.leases, &race.source, own_clock);
    own_us = 1000000;
    for (uint64_t i = 0; s != NULL && i < RACE_ASKS; i++) {
        uint64_t key = i % RACE_KEYS;
        struct store_answer out;
        own_us += 100;
        store_take(s, bytes_of(&key, sizeof(key)), &raced, 1, NULL, NULL, &out);
        race.admitted[key] += out.admitted;
        if (i % 500 == 0)
            s->ops->tick(s);
    }
    if (s != NULL)
        s->ops->free(s);
    return unused;
}

static void threads_share_the_leases(void **unused) {
    (void)unused;
    pthread_t threads[THREADS];
    race.source.ops = &race_ops;
    assert_non_null(race.leases = leases_new());
    for (uint64_t i = 0; i < RACE_KEYS; i++) {
        race.left[i] = raced.burst;
        race.names[i] = bucket_of(bytes_of(&i, sizeof(i)));
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race_run, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < RACE_KEYS; i++)
        assert_int_equal(race.admitted[i], raced.burst);
    leases_free(race.leases);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_share_the_leases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
