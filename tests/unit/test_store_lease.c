/* Leases: whatever several gates do with one shared count, no window holds more than the bound of
 * store_lease.h; and what is due is given. */
#include "../../proxy/store_lease.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static uint64_t now_us;

static uint64_t fake_clock(void) {
    return now_us;
}

static uint64_t rng_state;

static uint64_t rng(void) { /* xorshift64*: the schedule only has to be irregular and repeatable */
    rng_state ^= rng_state >> 12;
    rng_state ^= rng_state << 25;
    rng_state ^= rng_state >> 27;
    return rng_state * 2685821657736338717u;
}

/* ---- The shared count: GCRA in count-ths of a microsecond; one bucket ---- */

enum { GATES = 3, WORKERS = 2, ASKS = 512 };

struct asked {
    store_done_fn *done; /* NULL: the place is free */
    void *cookie;
    struct store_answer answer;
    uint64_t due_us, n;
};

static struct shared {
    struct source source;
    unsigned __int128 tat;
    struct asked asks[ASKS];
    uint64_t calls, settles, refunded, delay_us, fail_one_in;
    bool down;
    uint64_t last_n, last_extra;
} shared;

static void check_admission(uint64_t n);

static struct store_answer count(const struct store_rate *r, uint64_t n, uint64_t extra) {
    unsigned __int128 now = (unsigned __int128)now_us * r->count, token = r->period_us;
    struct store_answer out = {.status = STORE_DONE};
    if (shared.tat < now)
        shared.tat = now;
    unsigned __int128 room = now + token * r->burst - shared.tat, fit = room / token;
    out.admitted = fit >= n;
    if (out.admitted)
        out.granted = fit - n < extra ? (uint64_t)(fit - n) : extra;
    unsigned __int128 want = token * (n > 0 ? n : 1);
    if ((!out.admitted || n + out.granted == 0) && want > room)
        out.retry_after_us = (uint64_t)((want - room + r->count - 1) / r->count);
    if (out.admitted)
        shared.tat += token * (n + out.granted);
    return out;
}

static enum store_status shared_ask(struct source *source, const struct bucket *b,
                                    const struct store_rate *rate, uint64_t n, uint64_t extra,
                                    store_done_fn *done, void *cookie, struct store_answer *out) {
    (void)source, (void)b;
    *out = (struct store_answer){.status = STORE_FAILED};
    assert_true(extra <= rate->burst / 4);
    if (shared.down)
        return STORE_FAILED;
    shared.calls++;
    shared.last_n = n;
    shared.last_extra = extra;
    for (int i = 0; i < ASKS; i++) {
        struct asked *a = &shared.asks[i];
        if (a->done != NULL)
            continue;
        *a = (struct asked){done, cookie, count(rate, n, extra), 0, n};
        if (shared.fail_one_in > 0 && rng() % shared.fail_one_in == 0)
            a->answer = (struct store_answer){.status = STORE_FAILED}; /* but the tokens are gone */
        else if (a->answer.admitted)
            check_admission(n);
        a->due_us = now_us + (shared.delay_us > 0 ? rng() % shared.delay_us : 0);
        return out->status = STORE_PENDING;
    }
    return STORE_FAILED;
}

static bool shared_settle(struct source *source, const struct bucket *b, const struct store_rate *r,
                          bool charge, uint64_t tokens) {
    (void)source, (void)b;
    assert_false(charge);
    assert_true(tokens > 0);
    shared.settles++;
    shared.refunded += tokens;
    if (shared.down)
        return false;
    unsigned __int128 now = (unsigned __int128)now_us * r->count, token = r->period_us;
    shared.tat = shared.tat > now + token * tokens ? shared.tat - token * tokens : now;
    return true;
}

static void shared_cancel(struct source *source, void *cookie) {
    (void)source;
    for (int i = 0; i < ASKS; i++)
        if (shared.asks[i].cookie == cookie)
            shared.asks[i].done = NULL;
}

static const struct source_ops shared_ops = {
    .ask = shared_ask, .settle = shared_settle, .cancel = shared_cancel};

/* Hands out the answers that are due. */
static void answer_due(void) {
    for (int i = 0; i < ASKS; i++) {
        struct asked a = shared.asks[i];
        if (a.done != NULL && a.due_us <= now_us) {
            shared.asks[i].done = NULL;
            a.done(a.cookie, &a.answer);
        }
    }
}

/* ---- What was admitted: no window may hold more than rate * window + most ---- */

static struct {
    const struct store_rate *rate;
    uint64_t most, admitted, refused, failed;
    unsigned __int128 debt_until; /* as a GCRA of its own: over when any window is */
    bool wrong;
} seen;

static void check_admission(uint64_t n) {
    unsigned __int128 now = (unsigned __int128)now_us * seen.rate->count;
    if (seen.debt_until < now)
        seen.debt_until = now;
    seen.debt_until += (unsigned __int128)seen.rate->period_us * n;
    if (seen.debt_until - now > (unsigned __int128)seen.rate->period_us * seen.most)
        seen.wrong = true;
    seen.admitted += n;
}

static int token_of[1024]; /* cookies */

static void on_done(void *cookie, const struct store_answer *a) {
    (void)cookie;
    assert_int_equal(a->granted, 0); /* nobody above need know */
    if (a->status == STORE_FAILED)
        seen.failed++;
    else if (!a->admitted)
        seen.refused++;
}

static struct leases *leases[GATES];
static struct store *stores[GATES][WORKERS];

static void open_gates(const struct store_rate *rate, uint64_t most) {
    memset(&shared, 0, sizeof(shared));
    memset(&seen, 0, sizeof(seen));
    shared.source.ops = &shared_ops;
    seen.rate = rate;
    seen.most = most;
    rng_state = 0x9e3779b97f4a7c15u;
    now_us = 1000000000;
    for (int g = 0; g < GATES; g++) {
        assert_non_null(leases[g] = leases_new());
        for (int w = 0; w < WORKERS; w++)
            assert_non_null(stores[g][w] = store_lease_new(leases[g], &shared.source, fake_clock));
    }
}

static void close_gates(void) {
    for (int g = 0; g < GATES; g++) {
        for (int w = 0; w < WORKERS; w++)
            stores[g][w]->ops->free(stores[g][w]);
        leases_free(leases[g]);
    }
}

static struct store_answer take(int gate, int worker, uint64_t n, void *cookie) {
    struct store *s = stores[gate][worker];
    struct store_answer out;
    if (store_take(s, BYTES_LITERAL("k"), seen.rate, n, on_done, cookie, &out) == STORE_DONE) {
        if (out.admitted)
            check_admission(n);
        else
            seen.refused++;
    }
    return out;
}

static void sweep(void) {
    for (int g = 0; g < GATES; g++)
        stores[g][0]->ops->tick(stores[g][0]);
}

/* The most of the burst that is out now: held, or asked for. */
static uint64_t most_out(void) {
    uint64_t most = 0;
    for (int g = 0; g < GATES; g++)
        for (uint32_t i = 0; i < LEASES_MAX; i++) {
            const struct lease *e = &leases[g]->entries[i];
            if (e->tokens + e->asked > most)
                most = e->tokens + e->asked;
        }
    return most;
}

/* ---- The bound ---- */

static const struct store_rate hot = {2000, 1000000, 400, .on_failure = STORE_LOCAL},
                               small = {50, 1000000, 10, .on_failure = STORE_LOCAL},
                               tiny = {5, 1000000, 3, .on_failure = STORE_LOCAL},
                               deep = {100, 1000000, 1000, .on_failure = STORE_LOCAL},
                               odd = {997, 1000000, 77, .on_failure = STORE_LOCAL},
                               exact = {2000, 1000000, 400, true, STORE_LOCAL};
static const struct store_rate *const rates[] = {&hot, &small, &tiny, &deep, &odd, &exact};
#define RATES (sizeof(rates) / sizeof(rates[0]))

struct schedule {
    uint64_t pause_us; /* between queries, about */
    uint64_t quiet_ms; /* now and then */
    uint64_t fail_one_in, delay_us;
};

static uint64_t bound(const struct store_rate *r) {
    return r->burst + (r->exact ? 0 : GATES * (r->burst / 4));
}

static void play(const struct store_rate *r, const struct schedule *s, uint64_t queries) {
    open_gates(r, bound(r));
    shared.fail_one_in = s->fail_one_in;
    shared.delay_us = s->delay_us;
    for (uint64_t i = 0, next_sweep = 0; i < queries && !seen.wrong; i++) {
        void *cookie = &token_of[i % 1024];
        uint64_t n = rng() % 8 == 0 ? 1 + rng() % (r->burst / 3 + 1) : 1;
        now_us += rng() % (2 * s->pause_us + 1);
        if (rng() % 500 == 0)
            now_us += rng() % (s->quiet_ms * 1000 + 1);
        answer_due();
        int gate = (int)(rng() % GATES), worker = (int)(rng() % WORKERS);
        if (take(gate, worker, n, cookie).status == STORE_PENDING && rng() % 16 == 0)
            stores[gate][worker]->ops->cancel(stores[gate][worker], cookie);
        if (now_us >= next_sweep) {
            sweep();
            next_sweep = now_us + STORE_TICK;
        }
        if (i % 1000 == 0)
            assert_true(most_out() <= r->burst / 4);
    }
    close_gates();
    assert_false(seen.wrong);
}

static void no_window_holds_more_than_the_bound(void **unused) {
    (void)unused;
    static const struct schedule schedules[] = {
        {.pause_us = 50, .quiet_ms = 3000, .delay_us = 300},
        {.pause_us = 1000, .quiet_ms = 1500, .delay_us = 5000},
        {.pause_us = 5000, .quiet_ms = 100, .delay_us = 0},
        {.pause_us = 200, .quiet_ms = 1000, .delay_us = 2000, .fail_one_in = 10},
    };
    for (size_t i = 0; i < RATES; i++)
        for (size_t k = 0; k < sizeof(schedules) / sizeof(schedules[0]); k++)
            play(rates[i], &schedules[k], 20000);
}

/* The bound can be reached: so it is no looser than it has to be. */
static void the_bound_is_tight(void **unused) {
    (void)unused;
    open_gates(&hot, bound(&hot));
    for (int g = 0; g < GATES; g++) /* each gets used to a demand, and holds its quarter */
        for (int i = 0; i < 30; i++) {
            now_us += 10000;
            take(g, 0, 10, NULL);
            answer_due();
        }
    now_us += MS(200); /* the shared bucket is full again, and the leases live */
    memset(&seen.debt_until, 0, sizeof(seen.debt_until));
    uint64_t before = seen.admitted;
    for (int g = 0; g < GATES; g++)
        while (take(g, 0, 1, NULL).status == STORE_DONE)
            answer_due();
    while (seen.refused == 0) {
        take(0, 0, 1, NULL);
        answer_due();
    }
    close_gates();
    assert_false(seen.wrong);
    assert_true(seen.admitted - before > hot.burst + GATES * (hot.burst / 4) * 8 / 10);
}

/* Three gates with very unlike demand, all of it together over the rate: what is due is given. */
static void what_is_due_is_given(void **unused) {
    (void)unused;
    for (size_t i = 0; i < RATES; i++) {
        uint64_t start, sum, token = rates[i]->period_us / rates[i]->count;
        open_gates(rates[i], bound(rates[i]));
        shared.delay_us = 300;
        start = now_us;
        for (uint64_t k = 0; k < 40000; k++) {
            uint64_t r = rng() % 16;
            now_us += rng() % (token / 2 + 1);
            answer_due();
            take(r < 12 ? 0 : r < 15 ? 1 : 2, (int)(rng() % WORKERS), 1, NULL);
            if (k % 64 == 0)
                sweep();
        }
        sum = rates[i]->burst + (now_us - start) * rates[i]->count / rates[i]->period_us;
        close_gates();
        assert_false(seen.wrong);
        if (seen.admitted * 1000 < sum * 990)
            fail_msg("rate %zu: %lu of %lu", i, seen.admitted, sum);
    }
}

/* ---- What it saves, and what it does not do ---- */

static void hot_buckets_ask_seldom(void **unused) {
    (void)unused;
    open_gates(&hot, bound(&hot));
    for (int i = 0; i < 20000; i++) { /* half of what the rate allows */
        now_us += 1000;
        answer_due();
        take(0, i % WORKERS, 1, NULL);
        if (i % 50 == 0)
            sweep();
    }
    assert_int_equal(seen.refused, 0);
    assert_int_equal(seen.admitted, 20000);
    assert_true(shared.calls < 1000);
    close_gates();
}

static void cold_buckets_lease_nothing(void **unused) {
    (void)unused;
    open_gates(&deep, bound(&deep));
    for (int i = 0; i < 50; i++) {
        now_us += SECONDS(2);
        assert_int_equal(take(0, 0, 1, NULL).status, STORE_PENDING);
        answer_due();
        assert_int_equal(shared.last_extra, 0);
        sweep();
    }
    assert_int_equal(shared.calls, 50);
    assert_int_equal(shared.settles, 0);
    close_gates();
}

static void exact_and_small_rates_ask_each_time(void **unused) {
    (void)unused;
    static const struct store_rate *const asked[] = {&exact, &tiny};
    for (int i = 0; i < 2; i++) {
        open_gates(asked[i], bound(asked[i]));
        for (int k = 1; k <= 500; k++) {
            now_us += 100;
            assert_int_equal(take(0, 0, 1, NULL).status, STORE_PENDING);
            answer_due();
            assert_int_equal(shared.calls, k);
            assert_int_equal(shared.last_extra, 0);
        }
        assert_true(seen.refused > 0);
        close_gates();
    }
}

/* Of the first gate's shard that holds something. */
static const struct list *held_list(void) {
    for (uint32_t i = 0; i < SHARDS; i++)
        if (!list_empty(&leases[0]->shards[i].held))
            return &leases[0]->shards[i].held;
    fail_msg("nothing is held");
    return NULL;
}

static void left_over_goes_back(void **unused) {
    (void)unused;
    open_gates(&deep, bound(&deep));
    for (int i = 0; i < 20; i++) {
        now_us += 5000;
        take(0, 0, 1, NULL);
        answer_due();
    }
    assert_true(most_out() > 0);
    uint64_t held = most_out();
    const struct lease *e = list_object(held_list()->next, struct lease, link);
    assert_in_range(e->expires_us, now_us, now_us + LEASE_TIME);
    now_us = e->expires_us - 1;
    sweep();
    assert_int_equal(shared.settles, 0);
    now_us += 1;
    sweep();
    assert_int_equal(shared.settles, 1);
    assert_int_equal(shared.refunded, held);
    assert_int_equal(most_out(), 0);
    sweep();
    assert_int_equal(shared.settles, 1);
    close_gates();
}

/* By whoever goes last; those before leave it to the others. */
static void all_goes_back_at_the_end(void **unused) {
    (void)unused;
    open_gates(&deep, bound(&deep));
    for (int i = 0; i < 20; i++) {
        now_us += 5000;
        take(0, 0, 1, NULL);
        answer_due();
    }
    uint64_t held = most_out();
    assert_true(held > 0);
    for (int w = 0; w < WORKERS; w++) {
        assert_int_equal(shared.settles, 0);
        stores[0][w]->ops->free(stores[0][w]);
    }
    assert_int_equal(shared.settles, 1);
    assert_int_equal(shared.refunded, held);
    leases_free(leases[0]);
    leases[0] = leases_new();
    for (int w = 0; w < WORKERS; w++)
        stores[0][w] = store_lease_new(leases[0], &shared.source, fake_clock);
    close_gates();
}

static void refusals_are_remembered(void **unused) {
    (void)unused;
    open_gates(&small, bound(&small));
    while (seen.refused == 0) {
        take(0, 0, 1, NULL);
        answer_due();
    }
    uint64_t calls = shared.calls;
    struct store_answer a = take(0, 1, 1, NULL);
    assert_int_equal(a.status, STORE_DONE); /* on another worker too */
    assert_false(a.admitted);
    assert_in_range(a.retry_after_us, 1, 20000);
    assert_int_equal(take(0, 0, 5, NULL).status, STORE_DONE);
    assert_int_equal(shared.calls, calls);
    now_us += a.retry_after_us;
    assert_int_equal(take(0, 0, 1, NULL).status, STORE_PENDING);
    answer_due();
    assert_int_equal(shared.calls, calls + 1);
    close_gates();
}

/* A day's wait is not believed for a day: others may give back what they hold. */
static void refusals_are_forgotten(void **unused) {
    (void)unused;
    static const struct store_rate daily = {4, UINT64_C(86400000000), 4, .on_failure = STORE_LOCAL};
    open_gates(&daily, bound(&daily));
    for (int i = 0; i < 5; i++) {
        take(0, 0, 1, NULL);
        answer_due();
    }
    uint64_t calls = shared.calls;
    assert_int_equal(seen.refused, 1);
    now_us += LEASE_TIME - 1;
    assert_int_equal(take(0, 0, 1, NULL).status, STORE_DONE);
    now_us += 1;
    assert_int_equal(take(0, 0, 1, NULL).status, STORE_PENDING);
    assert_int_equal(shared.calls, calls + 1);
    close_gates(); /* with a question out */
}

static void more_than_the_burst_is_never_asked(void **unused) {
    (void)unused;
    open_gates(&small, bound(&small));
    struct store_answer a = take(0, 0, 11, NULL);
    assert_true(a.status == STORE_DONE && !a.admitted && a.retry_after_us == UINT64_MAX);
    assert_int_equal(shared.calls, 0);
    close_gates();
}

static void a_lost_source_fails(void **unused) {
    (void)unused;
    open_gates(&hot, bound(&hot));
    shared.down = true;
    for (int i = 0; i < 100; i++) {
        now_us += 1000;
        assert_int_equal(take(0, 0, 1, NULL).status, STORE_FAILED);
    }
    assert_int_equal(most_out(), 0); /* nothing is asked for, so nothing is out */
    shared.down = false;
    for (int i = 0; i < 100; i++) {
        now_us += 1000;
        take(0, 0, 1, NULL);
        answer_due();
    }
    assert_true(most_out() > 0);
    close_gates();
}

/* More buckets than there are entries: the table forgets, and nobody is over. */
static void the_table_is_bounded(void **unused) {
    (void)unused;
    struct store_answer out;
    open_gates(&small, bound(&small));
    seen.most = UINT64_MAX >> 32; /* many buckets in one count: not what is looked at */
    for (uint64_t i = 0; i < 3 * LEASES_MAX; i++) {
        uint64_t key = i % 3 == 0 ? i / 300 : i;
        if (i % 100 == 0)
            now_us += MS(1);
        store_take(stores[0][0], bytes_of(&key, sizeof(key)), &small, 1, on_done, NULL, &out);
        answer_due();
    }
    sweep();
    close_gates();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_window_holds_more_than_the_bound),
        cmocka_unit_test(the_bound_is_tight),
        cmocka_unit_test(what_is_due_is_given),
        cmocka_unit_test(hot_buckets_ask_seldom),
        cmocka_unit_test(cold_buckets_lease_nothing),
        cmocka_unit_test(exact_and_small_rates_ask_each_time),
        cmocka_unit_test(left_over_goes_back),
        cmocka_unit_test(all_goes_back_at_the_end),
        cmocka_unit_test(refusals_are_remembered),
        cmocka_unit_test(refusals_are_forgotten),
        cmocka_unit_test(more_than_the_burst_is_never_asked),
        cmocka_unit_test(a_lost_source_fails),
        cmocka_unit_test(the_table_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
