/* The bound that matters: whatever the schedule, no window holds more than rate * window + burst.
 */
#include "../../proxy/store_memory.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "../../proxy/base/clock.h"

static uint64_t fake_ns;

static uint64_t fake_clock(void) {
    return fake_ns;
}

static uint64_t rng_state = 0x9e3779b97f4a7c15u;

static uint64_t rng(void) { /* xorshift64*: the schedule only has to be irregular and repeatable */
    rng_state ^= rng_state >> 12;
    rng_state ^= rng_state << 25;
    rng_state ^= rng_state >> 27;
    return rng_state * 2685821657736338717u;
}

static const struct store_rate per_minute = {.count = 120, .period_us = 60000000, .burst = 40},
                               per_second = {.count = 7, .period_us = 1000000, .burst = 3},
                               fast = {.count = 1000000, .period_us = 1000000, .burst = 100},
                               third = {.count = 3, .period_us = 1000000, .burst = 1},
                               slow = {.count = 1, .period_us = UINT64_C(86400000000), .burst = 2},
                               odd = {.count = 997, .period_us = 60000000, .burst = 11},
                               faster_than_ns = {
                                   .count = UINT64_C(7000000000), .period_us = 1000000, .burst = 5};
static const struct store_rate *const rates[] = {&per_minute, &per_second, &fast,          &third,
                                                 &slow,       &odd,        &faster_than_ns};
#define RATES (sizeof(rates) / sizeof(rates[0]))

static struct store_answer ask(struct store *s, struct bytes key, const struct store_rate *rate,
                               uint64_t n) {
    struct store_answer out;
    memset(&out, 0xff, sizeof(out));
    enum store_status status = store_take(s, key, rate, n, NULL, NULL, &out);
    assert_int_equal(status, out.status);
    return out;
}

static bool take(struct store *s, const char *key, const struct store_rate *rate, uint64_t n) {
    struct store_answer out = ask(s, bytes_str(key), rate, n);
    assert_int_equal(out.status, STORE_DONE);
    return out.admitted;
}

static struct store *fresh(void) {
    fake_ns = UINT64_C(5000000000);
    struct store *s = store_memory_new(fake_clock);
    assert_non_null(s);
    return s;
}

struct admission {
    uint64_t at_ns, tokens;
};

/* Exact, in integers: (sum - burst) * period <= (t_j - t_i) * count for every pair. */
static void check_windows(const struct admission *a, size_t count, const struct store_rate *rate) {
    for (size_t i = 0; i < count; i++) {
        uint64_t sum = 0;
        for (size_t j = i; j < count; j++) {
            sum += a[j].tokens;
            if (sum <= rate->burst)
                continue;
            unsigned __int128 over =
                (unsigned __int128)(sum - rate->burst) * rate->period_us * 1000;
            unsigned __int128 due = (unsigned __int128)(a[j].at_ns - a[i].at_ns) * rate->count;
            if (over > due)
                fail_msg("%zu..%zu: %llu tokens too many", i, j, (unsigned long long)sum);
        }
    }
}

static void no_window_over_admits(void **state) {
    (void)state;
    struct admission a[800];
    for (size_t r = 0; r < RATES; r++) {
        struct store *s = fresh();
        uint64_t token_ns = rates[r]->period_us * 1000 / rates[r]->count + 1;
        size_t count = 0;
        for (int tries = 0; tries < 8000 && count < 800; tries++) {
            uint64_t n = rng() % 8 == 0 ? 1 + rng() % rates[r]->burst : 1;
            fake_ns += rng() % 50 == 0 ? rng() % (token_ns * 20) : rng() % token_ns;
            if (take(s, "k", rates[r], n))
                a[count++] = (struct admission){fake_ns, n};
        }
        assert_true(count > 100);
        check_windows(a, count, rates[r]);
        s->ops->free(s);
    }
}

#define GREEDY_ASKS 20000

/* A client that always asks gets what is due, to the token: the arithmetic does not drift. */
static void due_rate_is_given(void **state) {
    (void)state;
    for (size_t r = 0; r < RATES; r++) {
        struct store *s = fresh();
        const struct store_rate *rate = rates[r];
        uint64_t start = fake_ns, admitted = 0;
        for (int i = 0; i < GREEDY_ASKS; i++) {
            admitted += take(s, "greedy", rate, 1);
            fake_ns += rate->period_us * 1000 / rate->count / 3 + 1;
        }
        unsigned __int128 due = (unsigned __int128)(fake_ns - start) * rate->count;
        uint64_t expected = (uint64_t)(due / (rate->period_us * 1000)) + rate->burst;
        if (expected > GREEDY_ASKS)
            expected = GREEDY_ASKS;
        assert_true(admitted <= expected && admitted + 2 >= expected);
        s->ops->free(s);
    }
}

static void burst_then_refusal(void **state) {
    (void)state;
    for (size_t r = 0; r < RATES; r++) {
        struct store *s = fresh();
        for (uint64_t i = 0; i < rates[r]->burst; i++)
            assert_true(take(s, "a", rates[r], 1));
        assert_false(take(s, "a", rates[r], 1));
        assert_true(take(s, "b", rates[r], rates[r]->burst)); /* another key has its own */
        assert_false(take(s, "b", rates[r], 1));
        assert_true(take(s, "b", rates[r], 0)); /* nothing is always to be had */
        s->ops->free(s);
    }
}

static void retry_after_is_exact(void **state) {
    (void)state;
    for (size_t r = 0; r < RATES; r++) {
        struct store *s = fresh();
        struct bytes key = BYTES_LITERAL("k");
        for (int round = 0; round < 300; round++) {
            uint64_t n = 1 + rng() % rates[r]->burst;
            fake_ns += rng() % 1000;
            struct store_answer no = ask(s, key, rates[r], n);
            if (no.admitted)
                continue;
            assert_true(no.retry_after_us > 0);
            fake_ns += (no.retry_after_us - 1) * 1000;
            assert_false(ask(s, key, rates[r], n).admitted);
            fake_ns += 1000;
            assert_true(ask(s, key, rates[r], n).admitted);
        }
        s->ops->free(s);
    }
}

/* A token of 7/s is no whole number of nanoseconds; 7000 of them are 1000 s all the same. */
static void parts_of_a_nanosecond_add_up(void **state) {
    (void)state;
    static const struct store_rate sevens = {.count = 7, .period_us = 1000000, .burst = 7000};
    struct store *s = fresh();
    for (int i = 0; i < 7000; i++)
        assert_true(take(s, "k", &sevens, 1));
    assert_int_equal(ask(s, BYTES_LITERAL("k"), &sevens, 7000).retry_after_us, 1000000000);
    assert_true(take(s, "third", &third, 1)); /* due in 333333333 1/3 ns */
    fake_ns += 333;
    assert_int_equal(ask(s, BYTES_LITERAL("third"), &third, 1).retry_after_us, 333334);
    s->ops->free(s);
}

static void more_than_the_burst_never(void **state) {
    (void)state;
    struct store *s = fresh();
    struct store_answer out = ask(s, BYTES_LITERAL("k"), &per_second, 4);
    assert_false(out.admitted);
    assert_true(out.retry_after_us == UINT64_MAX);
    assert_true(take(s, "k", &per_second, 3)); /* and the question cost nothing */
    s->ops->free(s);
}

static void a_rate_beyond_the_clock_fails(void **state) {
    (void)state;
    struct store *s = fresh();
    static const struct store_rate millennia = {
        .count = 1, .period_us = UINT64_C(86400000000), .burst = 1000000};
    static const struct store_rate widest = {
        .count = 1, .period_us = UINT64_MAX / 1000, .burst = UINT64_MAX};
    assert_int_equal(ask(s, BYTES_LITERAL("k"), &millennia, 1).status, STORE_FAILED);
    assert_int_equal(ask(s, BYTES_LITERAL("k"), &widest, 1).status, STORE_FAILED);
    s->ops->free(s);
}

static void keys_are_bytes(void **state) {
    (void)state;
    struct store *s = fresh();
    static const struct bytes keys[] = {{NULL, 0}, {"\0", 1}, {"\0\0", 2}, {"a", 1}, {"a\0", 2}};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        assert_true(ask(s, keys[i], &third, 1).admitted);
        assert_false(ask(s, keys[i], &third, 1).admitted);
    }
    s->ops->free(s);
}

/* One key under two rates is misuse, but must stay in its own bounds. */
static void changed_rate_keeps_the_debt(void **state) {
    (void)state;
    struct store *s = fresh();
    assert_true(take(s, "k", &odd, 11));
    assert_false(take(s, "k", &third, 1));
    fake_ns += UINT64_C(2000000000);
    assert_true(take(s, "k", &third, 1));
    s->ops->free(s);
}

static uint64_t table_bytes(const struct memory *m) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < DEBT_SHARDS; i++)
        sum += (uint64_t)(m->debts.shards[i].mask + 1) * sizeof(struct debt);
    return sum;
}

static struct store_answer take_number(struct store *s, uint64_t number) {
    static const struct store_rate minute = {.count = 1, .period_us = 60000000, .burst = 1};
    return ask(s, bytes_of(&number, sizeof(number)), &minute, 1);
}

static void memory_is_bounded(void **state) {
    (void)state;
    struct store *s = fresh();
    assert_int_equal(sizeof(struct debt), 32);
    assert_int_equal(sizeof(struct debt_shard), 64);
    for (uint64_t i = 0; i < 100000; i++)
        assert_true(take_number(s, i).admitted);
    uint64_t before = table_bytes((struct memory *)s);
    assert_true(before <= 100000 * 32 * 3);
    for (uint64_t i = 0; i < 100000; i++)
        assert_false(take_number(s, i).admitted); /* growing lost nobody's debt */
    fake_ns += UINT64_C(60000000001);
    for (uint64_t i = 100000; i < 200000; i++) /* paid debts make room for new ones */
        assert_true(take_number(s, i).admitted);
    assert_true(table_bytes((struct memory *)s) <= before * 2);
    for (uint64_t i = 100000; i < 200000; i++)
        assert_false(take_number(s, i).admitted);
    s->ops->free(s);
}

/* Full of debts, the store fails rather than forget one. */
static void full_table_fails_strict(void **state) {
    (void)state;
    struct store *s = fresh();
    uint64_t held = 0, failed = 0;
    for (uint64_t i = 0; i < RATE_ENTRIES_MAX + RATE_ENTRIES_MAX / 8; i++) {
        struct store_answer out = take_number(s, i);
        fake_ns += 100;
        held += out.status == STORE_DONE && out.admitted;
        failed += out.status == STORE_FAILED && !out.admitted;
    }
    assert_int_equal(held + failed, RATE_ENTRIES_MAX + RATE_ENTRIES_MAX / 8);
    assert_true(held > RATE_ENTRIES_MAX / 8 * 7 - 64 * DEBT_SHARDS &&
                held <= RATE_ENTRIES_MAX / 8 * 7);
    assert_int_equal(table_bytes((struct memory *)s), (uint64_t)RATE_ENTRIES_MAX * 32);
    for (uint64_t i = 0; i < RATE_ENTRIES_MAX / 2; i++)
        assert_false(take_number(s, i).admitted);
    fake_ns += UINT64_C(60000000001);
    for (uint64_t i = 0; i < 1000; i++)
        assert_true(take_number(s, UINT64_C(1) << 32 | i).admitted);
    s->ops->free(s);
}

#define THREADS      4
#define THREAD_TAKES 100000u

struct race {
    struct store *store;
    uint64_t seed, hot, cold;
};

static void *race_run(void *cookie) {
    static const struct store_rate hot = {.count = 1000, .period_us = 1000000, .burst = 50},
                                   cold = {.count = 1, .period_us = 3600000000, .burst = 1};
    struct race *race = cookie;
    struct store_answer out;
    for (uint64_t i = 0; i < THREAD_TAKES; i++) {
        uint64_t key = (race->seed + i * 7919) % 100000;
        store_take(race->store, BYTES_LITERAL("hot"), &hot, 1, NULL, NULL, &out);
        race->hot += out.admitted;
        store_take(race->store, bytes_of(&key, sizeof(key)), &cold, 1, NULL, NULL, &out);
        race->cold += out.admitted;
    }
    return NULL;
}

static void threads_share_one_bound(void **state) {
    (void)state;
    struct store *s = store_memory_new(clock_ns);
    struct race race[THREADS];
    pthread_t threads[THREADS];
    uint64_t hot = 0, cold = 0, start = clock_ns();
    assert_non_null(s);
    for (uint64_t i = 0; i < THREADS; i++) {
        race[i] = (struct race){s, i * 31, 0, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, race_run, &race[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        hot += race[i].hot;
        cold += race[i].cold;
    }
    double seconds = (double)(clock_ns() - start) / 1e9;
    assert_true((double)hot <= 1000 * seconds + 50 && hot >= 50);
    assert_int_equal(cold, 100000); /* every key once, whoever came first */
    s->ops->free(s);
}

static void cost_is_printed(void **state) {
    (void)state;
    struct store *s = store_memory_new(clock_ns);
    struct store_answer out;
    struct bytes key = BYTES_LITERAL("rl|q|client|120/60000000|40|k1:0123456789abcdef");
    uint64_t start = clock_ns();
    for (int i = 0; i < 1000000; i++)
        store_take(s, key, &per_minute, 1, NULL, NULL, &out);
    print_message("take: %.1f ns\n", (double)(clock_ns() - start) / 1e6);
    s->ops->free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_window_over_admits),
        cmocka_unit_test(due_rate_is_given),
        cmocka_unit_test(burst_then_refusal),
        cmocka_unit_test(retry_after_is_exact),
        cmocka_unit_test(parts_of_a_nanosecond_add_up),
        cmocka_unit_test(more_than_the_burst_never),
        cmocka_unit_test(a_rate_beyond_the_clock_fails),
        cmocka_unit_test(keys_are_bytes),
        cmocka_unit_test(changed_rate_keeps_the_debt),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(full_table_fails_strict),
        cmocka_unit_test(threads_share_one_bound),
        cmocka_unit_test(cost_is_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
