#include "../../proxy/accounts.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const struct hash_key hash_key = {1, 2};
static struct accounts *all;
static struct hash128 key;
static uint64_t turn;

static int setup(void **unused) {
    (void)unused;
    all = accounts_new(hash_key);
    key = accounts_key(all, BYTES_LITERAL("alice"));
    return all != NULL ? 0 : -1;
}

static int teardown(void **unused) {
    (void)unused;
    accounts_free(all);
    return 0;
}

static struct store_answer spend_marked(struct hash128 who, const struct store_budget *b,
                                        uint64_t cost, uint32_t items, const struct hash128 *marks,
                                        uint64_t now) {
    struct store_spending what = {.items = items, .marks = marks};
    struct store_answer out;
    for (int i = 0; i < STORE_AMOUNTS; i++)
        what.cost[i] = cost;
    if (!accounts_spend(all, who, b, &what, now, &out, &turn))
        out.status = STORE_FAILED;
    return out;
}

static struct store_answer spend(const struct store_budget *b, uint64_t cost, uint32_t items,
                                 uint64_t now) {
    return spend_marked(key, b, cost, items, NULL, now);
}

static void test_so_much_and_no_more(void **unused) {
    (void)unused;
    const struct store_budget b = {.limit = {10}};
    assert_true(spend(&b, 3, 2, 5).admitted);
    struct store_answer a = spend(&b, 5, 1, 6);
    assert_false(a.admitted);
    assert_int_equal(a.spent[0], 6);
    assert_true(a.retry_after_us == UINT64_MAX);
    a = spend(&b, 4, 1, 7);
    assert_true(a.admitted && a.charged == 1 && a.spent[0] == 10);
    assert_false(spend(&b, 1, 1, UINT64_MAX / 2).admitted);
    const struct store_budget more = {.limit = {11}};
    assert_true(spend(&more, 1, 1, 8).admitted);
    assert_false(spend(&b, 0, 1, 8).admitted);
}

/* Any order may bear it, and all are added to. */
static void test_one_order_is_enough(void **unused) {
    (void)unused;
    const struct store_budget b = {.limit = {[3] = 10, [7] = 25}};
    struct store_spending what = {.cost = {[3] = 6, [7] = 5, [9] = STORE_AMOUNT_MAX}, .items = 1};
    struct store_answer out;
    for (int i = 0; i < 6; i++) {
        assert_true(accounts_spend(all, key, &b, &what, 1, &out, &turn));
        assert_int_equal(out.admitted, i < 5);
    }
    assert_true(out.spent[3] == 30 && out.spent[7] == 25 && out.spent[9] == STORE_AMOUNT_MAX);
    const struct store_budget none = {.limit = {0}};
    assert_true(
        accounts_spend(all, accounts_key(all, BYTES_LITERAL("bob")), &none, &what, 1, &out, &turn));
    assert_false(out.admitted);
}

static void test_nothing_overflows(void **unused) {
    (void)unused;
    const struct store_budget b = {.limit = {STORE_AMOUNT_MAX - 1}};
    assert_false(spend(&b, STORE_AMOUNT_MAX, UINT32_MAX, 1).admitted);
    assert_false(spend(&b, 1ull << 40, UINT32_MAX, 1).admitted);
    assert_true(spend(&b, STORE_AMOUNT_MAX - 1, 1, 1).admitted);
    assert_false(spend(&b, 1, 1, 1).admitted);
}

static void test_marks(void **unused) {
    (void)unused;
    const struct store_budget b = {.limit = {10}};
    const struct hash128 marks[] = {{1, 1}, {2, 2}, {1, 1}, {3, 3}, {1, 2}};
    struct store_answer a = spend_marked(key, &b, 2, 3, marks, 1);
    assert_true(a.admitted && a.charged == 2 && a.spent[0] == 4);
    a = spend_marked(key, &b, 2, 5, marks, 1);
    assert_true(a.admitted && a.charged == 2 && a.spent[0] == 8);
    const struct hash128 many[] = {{8, 8}, {9, 9}};
    a = spend_marked(key, &b, 2, 2, many, 1);
    assert_false(a.admitted);
    a = spend_marked(key, &b, 2, 1, many, 1);
    assert_true(a.admitted && a.charged == 1); /* what was refused left no mark */
    a = spend_marked(key, &b, 2, 5, marks, 1);
    assert_true(a.admitted && a.charged == 0 && a.spent[0] == 10); /* spent, and repeats are free */
}

/* More marks than there is room for: they are charged again, and never for nothing. */
static void test_marks_are_bounded(void **unused) {
    (void)unused;
    const struct store_budget b = {.limit = {STORE_AMOUNT_MAX - 1}};
    uint64_t charged = 0;
    for (int round = 0; round < 2; round++)
        for (uint64_t i = 0; i < 3 * MARK_SLOTS; i++) {
            struct hash128 mark = {i * 0x9e3779b97f4a7c15u + 1, i + 1};
            charged += spend_marked(key, &b, 1, 1, &mark, 1).charged;
        }
    assert_true(charged > 3 * MARK_SLOTS + MARK_SLOTS && charged <= 6 * MARK_SLOTS);
    assert_int_equal(spend(&b, 1, 1, 1).spent[0], charged + 1);
}

/* ---- Windows ---- */

#define WINDOW 80000
#define TRIES  40000

static uint64_t random_state = 88172645463325252u;
static uint64_t draw(uint64_t below) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % below;
}

static void test_any_window_holds(void **unused) {
    (void)unused;
    static uint64_t at[TRIES], cost[TRIES];
    const struct store_budget b = {.limit = {100}, .window_us = WINDOW};
    uint32_t count = 0, from = 0;
    uint64_t now = 1700000000000000, in_window = 0, total = 0;
    for (int i = 0; i < TRIES; i++) {
        now += draw(draw(50) == 0 ? 3 * WINDOW : WINDOW / 40);
        uint64_t ask = 1 + draw(20);
        struct store_answer a = spend(&b, ask, 1, now);
        for (; from < count && at[from] + WINDOW <= now; from++)
            in_window -= cost[from];
        uint64_t in_nine_eighths = 0;
        for (uint32_t k = count; k > 0 && at[k - 1] + WINDOW / 8 * 9 + 2 > now; k--)
            in_nine_eighths += cost[k - 1];
        if (a.admitted) {
            at[count] = now;
            cost[count++] = ask;
            in_window += ask;
            total += ask;
            assert_true(in_window <= 100);
        } else {
            assert_true(in_nine_eighths + ask > 100); /* nothing counts longer than it says */
            assert_true(a.retry_after_us > 0 && a.retry_after_us <= WINDOW / 8 * 9 + 1);
        }
    }
    assert_true(count > TRIES / 20 && total > 5000);
}

static void test_a_changed_window_gives_nothing_back(void **unused) {
    (void)unused;
    const struct store_budget never = {.limit = {10}}, brief = {.limit = {10}, .window_us = 800},
                              wide = {.limit = {10}, .window_us = 80000};
    assert_true(spend(&brief, 4, 1, 1000000).admitted);
    assert_int_equal(spend(&wide, 3, 1, 1000500).spent[0], 7);
    assert_false(spend(&never, 4, 1, 1000600).admitted);
    assert_int_equal(spend(&never, 1, 1, 1000700).spent[0], 8);
    assert_int_equal(spend(&brief, 1, 1, 2000000).spent[0], 2); /* what is for good is for good */
    for (uint64_t i = 0; i < 30; i++) {                         /* more parts than are kept */
        const struct store_budget odd = {.limit = {1000}, .window_us = 1000000 + i * 7};
        assert_int_equal(spend(&odd, 1, 1, 3000000 + i).spent[0], 3 + i);
    }
}

static void test_a_clock_put_back_gives_nothing_back(void **unused) {
    (void)unused;
    const struct store_budget b = {.limit = {10}, .window_us = 8000};
    assert_true(spend(&b, 6, 1, 1000000).admitted);
    assert_false(spend(&b, 5, 1, 500000).admitted);
    assert_true(spend(&b, 4, 1, 500000).admitted);
}

/* ---- Keeping ---- */

static void test_what_is_saved_is_loaded(void **unused) {
    (void)unused;
    const struct store_budget b = {.limit = {10}, .window_us = 8000};
    struct buf saved;
    uint64_t then, end;
    buf_init(&saved, KIB(8));
    assert_true(accounts_is_kept(all, key));
    spend(&b, 2, 1, 10000);
    spend(&b, 3, 1, 13000);
    assert_false(accounts_is_kept(all, key));
    accounts_save(all, key, &saved, &then, &end);
    assert_true(then == 2 && end > 13000 && end <= 14008);
    spend(&b, 1, 1, 13000);
    accounts_kept(all, key, then);
    assert_false(accounts_is_kept(all, key));
    accounts_kept(all, key, then + 1);
    assert_true(accounts_is_kept(all, key));
    struct hash128 other = {5, 6};
    assert_true(accounts_load(all, other, buf_bytes(&saved)));
    assert_int_equal(spend_marked(other, &b, 1, 1, NULL, 13500).spent[0], 6);
    assert_int_equal(spend_marked(other, &b, 1, 1, NULL, 20500).spent[0], 5);
    assert_false(accounts_load(all, other, bytes_of(saved.at, saved.len - 1)));
    memset(saved.at + 8, 0xff, 8);
    assert_false(accounts_load(all, (struct hash128){7, 8}, buf_bytes(&saved)));
    buf_free(&saved);
}

/* A full table refuses new accounts until windows have passed, and forgets none that counts. */
static void test_room(void **unused) {
    (void)unused;
    const struct store_budget never = {.limit = {5}}, brief = {.limit = {5}, .window_us = 8000};
    const uint64_t now = 1000000000;
    uint64_t made = 0;
    const struct store_budget hour = {.limit = {5}, .window_us = 3600000000};
    struct hash128 who = {0, SHARDS};
    assert_true(
        spend_marked((struct hash128){UINT32_MAX, SHARDS}, &hour, 5, 1, NULL, now).admitted);
    assert_true(spend_marked(who, &never, 5, 1, NULL, now).admitted);
    for (;; made++) {
        who.lo = made + 1;
        struct store_answer a = spend_marked(who, &brief, 1, 1, NULL, now);
        if (a.status == STORE_FAILED)
            break;
    }
    assert_in_range(made, 500, 2000);
    assert_int_equal(spend_marked(who, &brief, 1, 1, NULL, now + 5000).status, STORE_FAILED);
    assert_true(spend_marked(who, &brief, 1, 1, NULL, now + SECONDS(2)).admitted);
    who.lo = UINT32_MAX;
    assert_false(spend_marked(who, &hour, 1, 1, NULL, now + SECONDS(3)).admitted);
    who.lo = 0;
    assert_false(spend_marked(who, &never, 1, 1, NULL, now + SECONDS(3)).admitted);
}

/* ---- Threads ---- */

static void *spender(void *cookie) {
    const struct store_budget b = {.limit = {3000}};
    uint64_t *admitted = cookie;
    for (int i = 0; i < 2000; i++) {
        struct store_spending what = {.cost = {1}, .items = 1};
        struct store_answer out;
        uint64_t t;
        if (accounts_spend(all, key, &b, &what, 1, &out, &t))
            *admitted += out.admitted;
    }
    return NULL;
}

static void test_threads_do_not_overspend(void **unused) {
    (void)unused;
    pthread_t threads[4];
    uint64_t admitted[4] = {0};
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, spender, &admitted[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(admitted[0] + admitted[1] + admitted[2] + admitted[3], 3000);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_so_much_and_no_more),
        TEST(test_one_order_is_enough),
        TEST(test_nothing_overflows),
        TEST(test_marks),
        TEST(test_marks_are_bounded),
        TEST(test_any_window_holds),
        TEST(test_a_changed_window_gives_nothing_back),
        TEST(test_a_clock_put_back_gives_nothing_back),
        TEST(test_what_is_saved_is_loaded),
        TEST(test_room),
        TEST(test_threads_do_not_overspend),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
