/* The guard: what on_failure does, when the store is taken for lost and for found, what is owed. */
#include "../../proxy/store_guard.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static uint64_t now_us;

static uint64_t fake_us(void) {
    return now_us;
}

static uint64_t fake_ns(void) {
    return now_us * 1000;
}

/* ---- Alerts ---- */

static struct { int lost, found; } alerts;

void alert_raise(const struct alert *a) {
    if (strcmp(a->rule, "store.lost") == 0)
        alerts.lost++;
    else if (strcmp(a->rule, "store.found") == 0)
        alerts.found++;
}

/* ---- The layers below ---- */

enum { PENDING_MAX_HERE = 8 };

static struct {
    enum store_status status; /* of a take; PENDING ones wait for answer_all */
    bool ping_sent, ping_taken, settles;
    store_done_fn *ping_done;
    void *ping_cookie;
    struct {
        store_done_fn *done;
        void *cookie;
    } pending[PENDING_MAX_HERE];
    int takes, pings, ticks, charged, cancels, frees;
    uint64_t tokens;
    struct store_rate rate;
    struct bucket pinged; /* all zeros: any */
} below;

static enum store_status fake_take(struct store *s, struct bytes key, const struct store_rate *rate,
                                   uint64_t n, store_done_fn *done, void *cookie,
                                   struct store_answer *out) {
    (void)s, (void)key, (void)rate, (void)n;
    below.takes++;
    *out = (struct store_answer){.status = below.status, .admitted = below.status == STORE_DONE};
    for (int i = 0; below.status == STORE_PENDING && i < PENDING_MAX_HERE; i++)
        if (below.pending[i].done == NULL) {
            below.pending[i].done = done;
            below.pending[i].cookie = cookie;
            return STORE_PENDING;
        }
    assert_true(below.status != STORE_PENDING);
    return below.status;
}

static enum store_status fake_spend(struct store *s, struct bytes key,
                                    const struct store_budget *budget,
                                    const struct store_spending *what, store_done_fn *done,
                                    void *cookie, struct store_answer *out) {
    (void)budget, (void)what;
    return fake_take(s, key, NULL, 0, done, cookie, out);
}

static void fake_cancel(struct store *s, void *cookie) {
    (void)s;
    for (int i = 0; i < PENDING_MAX_HERE; i++)
        if (below.pending[i].done != NULL && below.pending[i].cookie == cookie) {
            below.pending[i].done = NULL;
            below.cancels++;
        }
}

static void fake_tick(struct store *s) {
    (void)s;
    below.ticks++;
}

static void fake_free(struct store *s) {
    (void)s;
    below.frees++;
}

static const struct store_ops fake_ops = {.name = "fake",
                                          .take = fake_take,
                                          .spend = fake_spend,
                                          .cancel = fake_cancel,
                                          .tick = fake_tick,
                                          .free = fake_free};
static struct store fake_store = {&fake_ops};

static enum store_status fake_ping(struct source *s, const struct bucket *b, store_done_fn *done,
                                   void *cookie) {
    (void)s;
    below.pinged = b != NULL ? *b : (struct bucket){""};
    below.pings++;
    assert_null(below.ping_done); /* one at a time */
    if (!below.ping_taken)
        return STORE_FAILED;
    below.ping_done = done;
    below.ping_cookie = cookie;
    return STORE_PENDING;
}

static bool fake_settle(struct source *s, const struct bucket *b, const struct store_rate *rate,
                        bool charge, uint64_t tokens) {
    (void)s, (void)b;
    assert_true(charge);
    below.charged++;
    below.tokens += tokens;
    below.rate = *rate;
    return below.settles;
}

static void fake_source_free(struct source *s) {
    (void)s;
    below.ping_done = NULL;
    below.frees++;
}

static const struct source_ops source_ops = {
    .ping = fake_ping, .settle = fake_settle, .free = fake_source_free};
static struct source fake_source = {&source_ops};

static void answer_all(enum store_status status) {
    const struct store_answer a = {.status = status, .admitted = status == STORE_DONE};
    for (int i = 0; i < PENDING_MAX_HERE; i++) {
        store_done_fn *done = below.pending[i].done;
        below.pending[i].done = NULL;
        if (done != NULL)
            done(below.pending[i].cookie, &a);
    }
}

static void answer_ping(enum store_status status) {
    const struct store_answer a = {.status = status};
    store_done_fn *done = below.ping_done;
    below.ping_done = NULL;
    if (done != NULL)
        done(below.ping_cookie, &a);
}

/* ---- A gate of two workers ---- */

static const struct store_rate base = {60, 60000000, 12, .on_failure = STORE_AS_CONFIGURED};

static struct guards *all;
static struct store *guard[2];
static struct stats *stats;
static struct store_answer got;
static int answers;

static void on_done(void *cookie, const struct store_answer *a) {
    (void)cookie;
    got = *a;
    answers++;
}

static struct store *open_guard(struct source *source) {
    const struct guard_conf conf = {
        .all = all, .lower = &fake_store, .source = source, .now_us = fake_us, .stats = stats};
    struct store *s = store_guard_new(&conf);
    assert_non_null(s);
    return s;
}

static void open_gate(uint64_t gates, enum store_on_failure mode, struct source *source) {
    memset(&below, 0, sizeof(below));
    memset(&alerts, 0, sizeof(alerts));
    below.status = STORE_PENDING;
    below.ping_taken = below.settles = true;
    answers = 0;
    now_us = 1000000000;
    stats = stats_new();
    all = guards_new(gates, mode, store_memory_new(fake_ns));
    assert_non_null(all);
    guard[0] = open_guard(source);
    guard[1] = open_guard(source);
}

static void close_gate(void) {
    guard[0]->ops->free(guard[0]);
    guard[1]->ops->free(guard[1]);
    assert_int_equal(all->workers, 0);
    assert_int_equal(all->lost, 0);
    assert_int_equal(all->confirmed, 0);
    guards_free(all);
    stats_free(stats);
}

static struct store_answer take_key(int worker, const char *key, enum store_on_failure mode,
                                    uint64_t n) {
    struct store_rate rate = base;
    struct store_answer out;
    rate.on_failure = mode;
    if (store_take(guard[worker], bytes_str(key), &rate, n, on_done, &got, &out) != STORE_PENDING)
        return out;
    return (struct store_answer){.status = STORE_PENDING};
}

static struct store_answer take(int worker) {
    return take_key(worker, "k", STORE_AS_CONFIGURED, 1);
}

static void tick(enum store_status ping) {
    now_us += STORE_TICK;
    for (int w = 0; w < 2; w++) {
        guard[w]->ops->tick(guard[w]);
        answer_ping(ping);
    }
}

static uint64_t counter(enum counter c) {
    return stats->counters[c];
}

static void find_store(void) {
    for (int w = 0; w < 2; w++) {
        take(w);
        answer_all(STORE_DONE);
    }
    assert_true(guards_up(all));
}

static void lose_store(void) {
    find_store();
    for (int i = 0; i < STORE_FAILURES; i++)
        for (int w = 0; w < 2; w++) {
            take(w);
            answer_all(STORE_FAILED);
        }
    assert_false(guards_up(all));
}

/* Of a Cluster it may be one node that is gone: the others' answers do not make it found. */
static void the_lost_bucket_is_asked_for(void **unused) {
    const struct bucket any = {""}, k = bucket_of(BYTES_LITERAL("k"));
    (void)unused;
    open_gate(1, STORE_LOCAL, &fake_source);
    tick(STORE_DONE);
    assert_memory_equal(&below.pinged, &any, sizeof(any));
    lose_store();
    tick(STORE_FAILED);
    assert_memory_equal(&below.pinged, &k, sizeof(k));
    while (!guards_up(all))
        tick(STORE_DONE);
    now_us += SECONDS(1);
    tick(STORE_DONE);
    assert_memory_equal(&below.pinged, &any, sizeof(any));
    close_gate();
}

/* ---- Budgets ---- */

static struct store_answer spend(enum store_on_failure mode) {
    const struct store_budget b = {.limit = {1}, .on_failure = mode};
    const struct store_spending what = {.cost = {1}, .items = 1};
    struct store_answer out;
    if (store_spend(guard[0], BYTES_LITERAL("k"), &b, &what, on_done, &got, &out) == STORE_PENDING)
        return (struct store_answer){.status = STORE_PENDING};
    return out;
}

/* closed or open, and nothing is counted here or owed, whatever the store's own word is. */
static void test_budgets(void **unused) {
    (void)unused;
    open_gate(3, STORE_LOCAL, &fake_source);
    find_store();
    assert_int_equal(spend(STORE_CLOSED).status, STORE_PENDING);
    answer_all(STORE_DONE);
    assert_true(got.admitted && !got.fallback);
    assert_int_equal(spend(STORE_CLOSED).status, STORE_PENDING);
    guard[0]->ops->cancel(guard[0], &got);
    assert_int_equal(below.cancels, 1);
    for (int mode = STORE_CLOSED; mode <= STORE_AS_CONFIGURED; mode++) {
        assert_int_equal(spend((enum store_on_failure)mode).status, STORE_PENDING);
        answer_all(STORE_FAILED);
        assert_true(got.fallback && got.admitted == (mode == STORE_OPEN));
        assert_int_equal(got.status, mode == STORE_OPEN ? STORE_DONE : STORE_FAILED);
        assert_int_equal(spend(STORE_CLOSED).status, STORE_PENDING);
        answer_all(STORE_DONE);
    }
    assert_int_equal(all->debt_count, 0);
    lose_store();
    uint32_t owed = all->debt_count;
    assert_int_equal(spend(STORE_CLOSED).status, STORE_FAILED);
    assert_true(spend(STORE_OPEN).admitted);
    assert_true(all->debt_count == owed && counter(COUNT_store_fallback_open) == 2);
    close_gate();
}

/* ---- Tests ---- */

static void answers_pass_through(void **unused) {
    (void)unused;
    open_gate(1, STORE_CLOSED, &fake_source);
    assert_true(guards_starting(all));
    assert_int_equal(take(0).status, STORE_PENDING);
    assert_int_equal(answers, 0);
    answer_all(STORE_DONE);
    assert_int_equal(answers, 1);
    assert_true(got.admitted && !got.fallback);
    assert_false(guards_up(all)); /* the other worker has heard nothing yet */
    find_store();
    assert_false(guards_starting(all));
    below.status = STORE_DONE;
    assert_true(take(0).admitted);
    assert_int_equal(counter(COUNT_store_failures), 0);
    close_gate();
}

static void on_failure_decides(void **unused) {
    (void)unused;
    static const struct {
        enum store_on_failure configured, rule;
        enum store_status status;
        bool admitted;
        enum counter counted;
    } table[] = {
        {STORE_CLOSED, STORE_AS_CONFIGURED, STORE_FAILED, false, COUNT_store_fallback_closed},
        {STORE_OPEN, STORE_AS_CONFIGURED, STORE_DONE, true, COUNT_store_fallback_open},
        {STORE_LOCAL, STORE_AS_CONFIGURED, STORE_DONE, true, COUNT_store_fallback_local},
        {STORE_OPEN, STORE_CLOSED, STORE_FAILED, false, COUNT_store_fallback_closed},
        {STORE_CLOSED, STORE_OPEN, STORE_DONE, true, COUNT_store_fallback_open},
        {STORE_CLOSED, STORE_LOCAL, STORE_DONE, true, COUNT_store_fallback_local},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        for (int pending = 0; pending < 2; pending++) {
            open_gate(1, table[i].configured, &fake_source);
            below.status = pending ? STORE_PENDING : STORE_FAILED;
            struct store_answer a = take_key(0, "k", table[i].rule, 1);
            if (pending) {
                answer_all(STORE_FAILED);
                a = got;
            }
            assert_int_equal(answers, pending);
            assert_int_equal(a.status, table[i].status);
            assert_int_equal(a.admitted, table[i].admitted);
            assert_true(a.fallback);
            assert_int_equal(counter(table[i].counted), 1);
            assert_int_equal(counter(COUNT_store_failures), 1);
            close_gate();
        }
    }
}

static uint64_t admitted_locally(uint64_t burst) {
    struct store_rate rate = base;
    struct store_answer out;
    uint64_t sum = 0;
    rate.burst = burst;
    rate.on_failure = STORE_LOCAL;
    for (int i = 0; i < 100; i++) {
        store_take(guard[i % 2], BYTES_LITERAL("k"), &rate, 1, on_done, &got, &out);
        sum += out.admitted;
    }
    return sum;
}

static void local_is_a_share(void **unused) {
    (void)unused;
    static const uint64_t table[][3] = {
        /* gates, burst, at once */ {1, 12, 12}, {3, 12, 4}, {5, 12, 2}, {12, 12, 1}, {100, 12, 1}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        open_gate(table[i][0], STORE_LOCAL, &fake_source);
        lose_store();
        now_us += SECONDS(3600);
        assert_int_equal(admitted_locally(table[i][1]), table[i][2]);
        now_us += SECONDS(table[i][0]) - 1; /* a token takes as many times as long */
        assert_int_equal(admitted_locally(table[i][1]), 0);
        now_us += 1;
        assert_int_equal(admitted_locally(table[i][1]), 1);
        close_gate();
    }
}

/* More than the share's burst never passes here; when the store is back it may. */
static void a_batch_beyond_the_share_waits(void **unused) {
    (void)unused;
    open_gate(3, STORE_LOCAL, &fake_source);
    lose_store();
    struct store_answer a = take_key(0, "other", STORE_LOCAL, 5);
    assert_true(a.status == STORE_DONE && !a.admitted);
    assert_int_equal(a.retry_after_us, SECONDS(1));
    a = take_key(0, "other", STORE_LOCAL, 13);
    assert_true(!a.admitted && a.retry_after_us == UINT64_MAX);
    close_gate();
}

static void nobody_waits_for_a_lost_store(void **unused) {
    (void)unused;
    open_gate(1, STORE_OPEN, &fake_source);
    find_store();
    for (int i = 0; i < STORE_FAILURES - 1; i++) {
        take(0);
        answer_all(STORE_FAILED);
    }
    take(0); /* one answer in between: it is not lost */
    answer_all(STORE_DONE);
    for (int i = 0; i < STORE_FAILURES; i++) {
        assert_int_equal(take(0).status, STORE_PENDING);
        answer_all(STORE_FAILED);
    }
    int takes = below.takes;
    assert_int_equal(take(0).status, STORE_DONE);
    assert_int_equal(below.takes, takes);
    assert_int_equal(take(1).status, STORE_PENDING); /* the other worker's connection may be well */
    assert_int_equal(counter(COUNT_store_losses), 1);
    assert_int_equal(alerts.lost, 1);
    assert_false(guards_up(all));
    close_gate();
}

static void a_store_nobody_asks_is_asked(void **unused) {
    (void)unused;
    open_gate(1, STORE_OPEN, &fake_source);
    tick(STORE_DONE);
    assert_true(guards_up(all));
    for (int i = 1; i <= STORE_FAILURES; i++) {
        assert_true(guards_up(all));
        tick(STORE_FAILED);
    }
    assert_false(guards_up(all));
    assert_int_equal(alerts.lost, 1); /* one for the process, not one a worker */
    assert_int_equal(below.ticks, 2 * (1 + STORE_FAILURES));
    close_gate();
}

static void a_busy_store_is_not_asked(void **unused) {
    (void)unused;
    open_gate(1, STORE_OPEN, &fake_source);
    find_store();
    for (int i = 0; i < 20; i++) {
        now_us += STORE_TICK / 2;
        take(0);
        take(1);
        answer_all(STORE_DONE);
        guard[0]->ops->tick(guard[0]);
        guard[1]->ops->tick(guard[1]);
    }
    assert_int_equal(below.pings, 0);
    close_gate();
}

static void an_unanswered_question_is_not_repeated(void **unused) {
    (void)unused;
    open_gate(1, STORE_OPEN, &fake_source);
    for (int i = 0; i < 5; i++) {
        now_us += STORE_TICK;
        guard[0]->ops->tick(guard[0]);
    }
    assert_int_equal(below.pings, 1);
    below.ping_done = NULL;
    close_gate();
}

static void coming_back_takes_answers_and_time(void **unused) {
    (void)unused;
    open_gate(1, STORE_OPEN, &fake_source);
    find_store();
    lose_store();
    uint64_t lost_at = now_us;
    for (int i = 0; i < 21; i++) /* it comes and goes: lost all the time */
        tick(i % 3 == 2 ? STORE_FAILED : STORE_DONE);
    assert_int_equal(alerts.lost, 1);
    assert_int_equal(alerts.found, 0);
    assert_true(now_us - lost_at > STORE_LOST_MIN);
    for (int i = 1; i <= STORE_RECOVERIES; i++) {
        assert_false(guards_up(all));
        tick(STORE_DONE);
    }
    assert_true(guards_up(all));
    assert_int_equal(alerts.found, 1);
    assert_int_equal(take(0).status, STORE_PENDING);
    answer_all(STORE_DONE);

    lose_store();
    lost_at = now_us;
    while (!guards_up(all))
        tick(STORE_DONE); /* at once well again: not before its time */
    assert_in_range(now_us - lost_at, STORE_LOST_MIN, STORE_LOST_MIN + STORE_TICK);
    close_gate();
}

static void the_start_is_patient(void **unused) {
    (void)unused;
    open_gate(1, STORE_OPEN, &fake_source);
    below.ping_taken = false; /* no connection yet */
    while (now_us < 1000000000 + STORE_PATIENCE - STORE_TICK)
        tick(STORE_FAILED);
    assert_true(guards_starting(all));
    assert_int_equal(alerts.lost, 0);
    for (int i = 0; i <= STORE_FAILURES; i++)
        tick(STORE_FAILED);
    assert_false(guards_starting(all));
    assert_false(guards_up(all));
    assert_int_equal(alerts.lost, 1);
    close_gate();
}

static void what_was_admitted_is_charged(void **unused) {
    (void)unused;
    open_gate(1, STORE_LOCAL, &fake_source);
    find_store();
    lose_store(); /* its failing queries were admitted here: 2 x STORE_FAILURES */
    for (int i = 0; i < 3; i++)
        assert_true(take_key(0, "k", STORE_LOCAL, 1).admitted);
    assert_true(take_key(1, "other", STORE_OPEN, 12).admitted);
    assert_true(take_key(1, "other", STORE_OPEN, 12).admitted); /* a debt of one burst, not two */
    assert_int_equal(take_key(1, "closed", STORE_CLOSED, 1).status, STORE_FAILED);
    assert_int_equal(below.charged, 0);
    while (!guards_up(all))
        tick(STORE_DONE);
    tick(STORE_DONE);
    assert_int_equal(below.charged, 2);
    assert_int_equal(below.tokens, 2 * STORE_FAILURES + 3 + 12);
    assert_int_equal(below.rate.burst, base.burst); /* the rule's, not the share's */
    tick(STORE_DONE);
    assert_int_equal(below.charged, 2);
    close_gate();
}

static void what_is_owed_is_bounded(void **unused) {
    (void)unused;
    char key[32];
    open_gate(1, STORE_OPEN, &fake_source);
    lose_store();
    for (int i = 0; i < 2 * (int)STORE_DEBTS_MAX; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        assert_true(take_key(0, key, STORE_OPEN, 1).admitted);
    }
    uint32_t owed = all->debt_count;
    assert_in_range(owed, STORE_DEBTS_MAX * 8 / 10, STORE_DEBTS_MAX);
    while (!guards_up(all))
        tick(STORE_DONE);
    for (int i = 0; i < 1000 && all->debt_count > 0; i++) {
        int before = below.charged;
        tick(STORE_DONE);
        assert_true(below.charged - before <= 2 * STORE_CHARGES_TICK);
    }
    assert_int_equal(below.charged, owed);
    close_gate();
}

static void cancelled_is_not_answered(void **unused) {
    (void)unused;
    open_gate(1, STORE_LOCAL, &fake_source);
    take(0);
    guard[0]->ops->cancel(guard[0], &got);
    assert_int_equal(below.cancels, 1);
    answer_all(STORE_DONE);
    assert_int_equal(answers, 0);
    take(0);
    take(1);
    close_gate(); /* with questions out */
    assert_int_equal(answers, 0);
    assert_int_equal(below.frees, 4);
}

/* A store of this process has no connection to lose: each failure by itself. */
static void without_a_source(void **unused) {
    (void)unused;
    open_gate(1, STORE_CLOSED, NULL);
    assert_true(guards_up(all));
    below.status = STORE_FAILED;
    for (int i = 1; i < 10; i++) {
        assert_int_equal(take(0).status, STORE_FAILED);
        assert_int_equal(below.takes, i);
        tick(STORE_DONE);
    }
    assert_true(guards_up(all));
    assert_int_equal(alerts.lost, 0);
    assert_true(take_key(0, "k", STORE_LOCAL, 1).admitted);
    assert_int_equal(all->debt_count, 0);
    close_gate();
}

static void nothing_can_count(void **unused) {
    (void)unused;
    open_gate(1, STORE_LOCAL, NULL);
    all->local->ops->free(all->local);
    all->local = NULL;
    below.status = STORE_FAILED;
    assert_int_equal(take(0).status, STORE_FAILED);
    assert_int_equal(counter(COUNT_store_fallback_closed), 1);
    assert_int_equal(take_key(0, "k", STORE_OPEN, 1).status, STORE_DONE);
    close_gate();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_lost_bucket_is_asked_for),
        cmocka_unit_test(test_budgets),
        cmocka_unit_test(answers_pass_through),
        cmocka_unit_test(on_failure_decides),
        cmocka_unit_test(local_is_a_share),
        cmocka_unit_test(a_batch_beyond_the_share_waits),
        cmocka_unit_test(nobody_waits_for_a_lost_store),
        cmocka_unit_test(a_store_nobody_asks_is_asked),
        cmocka_unit_test(a_busy_store_is_not_asked),
        cmocka_unit_test(an_unanswered_question_is_not_repeated),
        cmocka_unit_test(coming_back_takes_answers_and_time),
        cmocka_unit_test(the_start_is_patient),
        cmocka_unit_test(what_was_admitted_is_charged),
        cmocka_unit_test(what_is_owed_is_bounded),
        cmocka_unit_test(cancelled_is_not_answered),
        cmocka_unit_test(without_a_source),
        cmocka_unit_test(nothing_can_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
