/* Budgets in Redis: the script on a real server (found as redis-server) whose clock the test sets,
 * against accounts.c, which is to answer the same to the last microsecond; and what is made of
 * replies.  redis.h is played by a blocking connection. */
#include "../../proxy/store_redis_budget.c"

#include "../../proxy/accounts.h"
#include "../../proxy/base/buf.h"
#include "../../proxy/base/clock.h"
#include "redis_server.h"

/* ---- redis.h ---- */

static struct {
    bool refuse;
    int sent;
    redis_done_fn *done;
    void *cookie;
    struct redis_reply reply;
    enum redis_result result;
} wire;

static struct redis_budgets budgets;
static uint64_t now_us;

/* The script as it is but for the clock. */
static struct bytes with_clock(void) {
    static char out[sizeof(script) + 64];
    static const char from[] = "redis.call('TIME')";
    const char *at = strstr(script, from);
    assert_non_null(at);
    int n = snprintf(out, sizeof(out), "%.*s{%llu, %llu}%s", (int)(at - script), script,
                     (unsigned long long)(now_us / 1000000), (unsigned long long)(now_us % 1000000),
                     at + sizeof(from) - 1);
    assert_true(n > 0 && (size_t)n < sizeof(out));
    return bytes_of(out, (size_t)n);
}

bool redis_send_numbered(struct redis *r, int argc, const struct bytes *argv, int key,
                         redis_done_fn *done, void *cookie) {
    struct bytes copy[REDIS_ARGS_MAX];
    (void)r;
    if (wire.refuse)
        return false;
    assert_true(argc < REDIS_ARGS_MAX && key == 3 && wire.done == NULL);
    memcpy(copy, argv, (size_t)argc * sizeof(*argv));
    copy[0] = BYTES_LITERAL("EVAL");
    copy[1] = with_clock();
    copy[argc++] = BYTES_LITERAL(GREATEST_TEXT);
    wire.sent++;
    wire.done = done;
    wire.cookie = cookie;
    if (server.there)
        wire.result = server_call(argc, copy, &wire.reply);
    if (server.there && wire.result == REDIS_OK) {
        assert_int_equal(wire.reply.values[0].integer, GREATEST);
        wire.reply.values++;
        wire.reply.count--;
    }
    return true;
}

void redis_cancel(struct redis *r, void *cookie) {
    (void)r;
    if (wire.cookie == cookie)
        wire.done = NULL;
}

static void answer_as(enum redis_result result, const struct redis_reply *reply) {
    redis_done_fn *done = wire.done;
    assert_non_null(done);
    wire.done = NULL;
    done(wire.cookie, result, reply);
}

/* ---- Asking ---- */

static struct store_answer got;
static int answers;

static void on_answer(void *cookie, const struct store_answer *a) {
    assert_ptr_equal(cookie, &got);
    got = *a;
    answers++;
}

static const struct store_budget plain = {.limit = {100}};

static enum store_status start(const char *name, const struct store_budget *b,
                               const struct store_spending *what) {
    struct bucket bucket = bucket_of(bytes_str(name));
    struct store_answer out;
    return redis_budgets_spend(&budgets, &bucket, b, what, on_answer, &got, &out);
}

static struct store_answer spend(const char *name, const struct store_budget *b,
                                 const struct store_spending *what) {
    assert_int_equal(start(name, b, what), STORE_PENDING);
    if (wire.result == REDIS_ERROR)
        fail_msg("%s", texts);
    answer_as(wire.result, &wire.reply);
    return got;
}

static int fresh(void **unused) {
    const struct bytes flush[] = {BYTES_LITERAL("FLUSHALL")};
    struct redis_reply reply;
    (void)unused;
    memset(&wire, 0, sizeof(wire));
    answers = 0;
    redis_budgets_init(&budgets, (struct redis *)&wire);
    if (server.there)
        server_call(1, flush, &reply);
    /* A day ahead, so that no key expires in earnest. */
    now_us = clock_wall_us() + SECONDS(86400);
    return 0;
}

static uint64_t random_state = 88172645463325252u;
static uint64_t draw(uint64_t below) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % below;
}

#define ACCOUNTS 3

static void same_answer(const struct store_answer *a, const struct store_answer *b, int step) {
    if (a->status != b->status || a->admitted != b->admitted || a->charged != b->charged ||
        memcmp(a->spent, b->spent, sizeof(a->spent)) != 0)
        fail_msg("step %d: %d %d %u, Redis %d %d %u", step, a->status, a->admitted, a->charged,
                 b->status, b->admitted, b->charged);
    if (!a->admitted && a->retry_after_us != b->retry_after_us)
        fail_msg("step %d: waits %llu, Redis %llu", step, (unsigned long long)a->retry_after_us,
                 (unsigned long long)b->retry_after_us);
}

/* Random amounts, orders, marks, and steps of the clock. */
static void play(uint64_t window_us, bool marked) {
    struct accounts *all = accounts_new((struct hash_key){3, 4});
    assert_non_null(all);
    for (int step = 0; step < 1500; step++) {
        char name[] = "a0";
        struct store_budget b = {.limit = {0}, .window_us = window_us};
        struct store_spending what = {.items = 1 + (uint32_t)draw(4)};
        struct hash128 marks[4];
        struct store_answer a;
        uint64_t turn;
        name[1] = (char)('0' + draw(ACCOUNTS));
        for (int i = 0; i < STORE_AMOUNTS; i++) {
            what.cost[i] = draw(8) == 0 ? STORE_AMOUNT_MAX : draw(UINT64_C(1) << draw(45));
            b.limit[i] = draw(2) == 0 ? 0 : draw(UINT64_C(1) << 47);
        }
        for (uint32_t i = 0; i < what.items; i++) /* a mark belongs to one account */
            marks[i] =
                (struct hash128){(uint64_t)name[1] << 32 | draw(40), UINT64_C(0x0d0a00ff22272700)};
        what.marks = marked ? marks : NULL;
        now_us += draw(draw(20) == 0 ? 2 * (window_us + 1) : (window_us + 1) / 20 + 1);
        assert_true(
            accounts_spend(all, accounts_key(all, bytes_str(name)), &b, &what, now_us, &a, &turn));
        struct store_answer r = spend(name, &b, &what);
        same_answer(&a, &r, step);
    }
    accounts_free(all);
}

static void test_as_in_memory(void **unused) {
    (void)unused;
    if (!server.there)
        skip();
    play(0, false);
    fresh(NULL);
    play(0, true);
    fresh(NULL);
    play(SECONDS(100), false);
    fresh(NULL);
    play(777777, true);
}

static void test_a_clock_put_back_gives_nothing_back(void **unused) {
    const struct store_budget b = {.limit = {10}, .window_us = SECONDS(8)};
    (void)unused;
    if (!server.there)
        skip();
    assert_true(spend("k", &b, &(struct store_spending){.cost = {6}, .items = 1}).admitted);
    now_us -= SECONDS(3600);
    assert_false(spend("k", &b, &(struct store_spending){.cost = {5}, .items = 1}).admitted);
    assert_true(spend("k", &b, &(struct store_spending){.cost = {4}, .items = 1}).admitted);
}

static void test_marks_are_bounded(void **unused) {
    static struct hash128 marks[STORE_ITEMS_MAX];
    const struct store_budget b = {.limit = {STORE_AMOUNT_MAX - 1}};
    uint64_t charged = 0;
    (void)unused;
    if (!server.there)
        skip();
    for (int round = 0; round < 12; round++) {
        for (uint64_t i = 0; i < STORE_ITEMS_MAX; i++)
            marks[i] = (struct hash128){i, (uint64_t)(round % 6)};
        charged +=
            spend("k", &b,
                  &(struct store_spending){.cost = {1}, .items = STORE_ITEMS_MAX, .marks = marks})
                .charged;
    }
    assert_int_equal(got.spent[0], charged);
    /* At random a mark of six rounds is there still about every other time. */
    assert_in_range(charged, 8 * STORE_ITEMS_MAX, 10 * STORE_ITEMS_MAX);
}

/* ---- What is made of replies ---- */

static void test_what_is_no_answer(void **unused) {
    (void)unused;
    const struct store_spending what = {.cost = {1}, .items = 2};
    for (int wrong = 0; wrong < 9; wrong++) {
        struct redis_value v[REPLY + 1];
        for (int i = 0; i <= REPLY; i++)
            v[i] = (struct redis_value){.type = REDIS_INTEGER, .integer = 1};
        struct redis_reply reply = {.array = true, .count = REPLY, .values = v};
        v[0].integer = wrong == 1 ? 2 : 1;
        v[1].integer = wrong == 2 ? 3 : 1;
        v[2].integer = wrong == 3 ? -2 : 0;
        v[5].integer = wrong == 4 ? -1 : 1;
        v[6].type = wrong == 5 ? REDIS_TEXT : REDIS_INTEGER;
        reply.count += wrong == 6 ? 1 : 0;
        reply.count -= wrong == 7 ? 1 : 0;
        reply.array = wrong != 8;
        assert_int_equal(start("k", &plain, &what), STORE_PENDING);
        answer_as(REDIS_OK, &reply);
        assert_int_equal(got.status, wrong == 0 ? STORE_DONE : STORE_FAILED);
        assert_int_equal(got.admitted, wrong == 0);
    }
    assert_int_equal(answers, 9);
}

static void test_failures(void **unused) {
    (void)unused;
    const struct store_spending what = {.cost = {1}, .items = 1};
    struct redis_value text = {.type = REDIS_TEXT, .text = BYTES_LITERAL("NOSCRIPT no matching")};
    struct redis_reply lost = {.count = 1, .values = &text};
    assert_int_equal(start("k", &plain, &what), STORE_PENDING);
    answer_as(REDIS_ERROR, &lost);
    assert_true(wire.sent == 2 && answers == 0); /* once more, with the text */
    answer_as(REDIS_ERROR, &lost);
    assert_true(wire.sent == 2 && answers == 1 && got.status == STORE_FAILED);
    wire.refuse = true;
    assert_int_equal(start("k", &plain, &what), STORE_FAILED);
    wire.refuse = false;
    assert_int_equal(start("k", &plain, &what), STORE_PENDING);
    redis_budgets_cancel(&budgets, &answers);
    assert_non_null(wire.done);
    redis_budgets_cancel(&budgets, &got);
    assert_null(wire.done);
    assert_int_equal(start("k", &plain, &what), STORE_PENDING);
    wire.done = NULL;
    redis_budgets_free(&budgets);
    assert_int_equal(answers, 1);
}

#define TEST(f) cmocka_unit_test_setup(f, fresh)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_as_in_memory),      TEST(test_a_clock_put_back_gives_nothing_back),
        TEST(test_marks_are_bounded), TEST(test_what_is_no_answer),
        TEST(test_failures),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
