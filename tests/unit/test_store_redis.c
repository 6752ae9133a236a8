/* The count in Redis: the script on a real server (found as redis-server) whose clock the test
 * sets, and what is made of replies.  redis.h is played by a blocking connection. */
#include "../../proxy/store_redis.c"

#include "../../proxy/base/buf.h"
#include "../../proxy/base/clock.h"
#include "../../proxy/base/limits.h"
#include "redis_server.h"

static int64_t call(int argc, ...) {
    struct bytes argv[8];
    struct redis_reply reply;
    va_list list;
    va_start(list, argc);
    for (int i = 0; i < argc; i++)
        argv[i] = bytes_str(va_arg(list, const char *));
    va_end(list);
    assert_int_equal(server_call(argc, argv, &reply), REDIS_OK);
    return reply.values[0].integer;
}

/* ---- redis.h: one command at a time, answered when the test says so ---- */

static struct {
    int argc;
    struct bytes argv[16];
    char text[16384];
    redis_done_fn *done;
    void *cookie;
    int sent, key, frees;
    bool refuse, slow;
    char first[16]; /* argv[0] of the last one */
} wire;

static uint64_t fake_us; /* the gate's clock */

static uint64_t gate_clock(void) {
    return fake_us;
}

bool redis_send_numbered(struct redis *r, int argc, const struct bytes *argv, int key,
                         redis_done_fn *done, void *cookie) {
    size_t used = 0;
    (void)r;
    if (wire.refuse)
        return false;
    assert_null(wire.done); /* one at a time */
    for (int i = 0; i < argc; i++) {
        assert_true(used + argv[i].len <= sizeof(wire.text));
        memcpy(wire.text + used, argv[i].at, argv[i].len);
        wire.argv[i] = bytes_of(wire.text + used, argv[i].len);
        used += argv[i].len;
    }
    wire.argv[argc++] = BYTES_LITERAL(GREATEST_TEXT);
    snprintf(wire.first, sizeof(wire.first), "%.*s", (int)argv[0].len, argv[0].at);
    wire.argc = argc;
    wire.key = key;
    wire.done = done;
    wire.cookie = cookie;
    wire.sent++;
    return true;
}

void redis_cancel(struct redis *r, void *cookie) {
    (void)r;
    if (wire.cookie == cookie)
        wire.done = NULL;
}

void redis_free(struct redis *r) {
    (void)r;
    wire.frees++;
    wire.done = NULL;
}

static void reply_now(enum redis_result result, const struct redis_reply *reply) {
    redis_done_fn *done = wire.done;
    assert_non_null(done);
    wire.done = NULL;
    done(wire.cookie, result, reply);
}

/* The script as it is but for the clock: the test's, in a key. */
static struct bytes with_clock(void) {
    static char out[sizeof(script) + 64];
    static const char from[] = "redis.call('TIME')",
                      to[] = "{redis.call('GET','s'), redis.call('GET','u')}";
    const char *at = strstr(script, from);
    assert_non_null(at);
    int n = snprintf(out, sizeof(out), "%.*s%s%s", (int)(at - script), script, to,
                     at + sizeof(from) - 1);
    assert_true(n > 0 && (size_t)n < sizeof(out));
    return bytes_of(out, (size_t)n);
}

static void let_server_answer(void) {
    struct redis_reply reply;
    struct bytes argv[16];
    memcpy(argv, wire.argv, sizeof(argv));
    if (strncmp(wire.first, "EVAL", 4) == 0) {
        argv[0] = BYTES_LITERAL("EVAL");
        argv[1] = with_clock();
    }
    enum redis_result result = server_call(wire.argc, argv, &reply);
    if (result == REDIS_ERROR)
        fail_msg("%.*s", (int)reply.values[0].text.len, reply.values[0].text.at);
    assert_int_equal(reply.values[0].integer, GREATEST);
    reply.values++;
    reply.count--;
    reply_now(result, &reply);
}

/* ---- Asking ---- */

static uint64_t server_us; /* the server's clock: a day ahead, so that no key expires in earnest */
static struct store_answer got;
static int answers;

static void on_answer(void *cookie, const struct store_answer *a) {
    assert_ptr_equal(cookie, &got);
    got = *a;
    answers++;
}

static void set_clock(uint64_t us) {
    char s[24], u[24];
    server_us = us;
    snprintf(s, sizeof(s), "%llu", (unsigned long long)(us / 1000000));
    snprintf(u, sizeof(u), "%llu", (unsigned long long)(us % 1000000));
    call(3, "SET", "s", s);
    call(3, "SET", "u", u);
}

static int fresh(void **unused) {
    (void)unused;
    memset(&wire, 0, sizeof(wire));
    answers = 0;
    if (!server.there)
        return 0;
    call(1, "FLUSHALL");
    set_clock(clock_wall_us() + SECONDS(86400));
    return 0;
}

static struct source *source_new(void) {
    struct source *s = store_redis_new((struct redis *)&wire, gate_clock, MS(5));
    assert_non_null(s);
    return s;
}

static struct store_answer ask_bucket(struct source *s, const char *key,
                                      const struct store_rate *rate, uint64_t n, uint64_t extra) {
    struct bucket b = bucket_of(bytes_str(key));
    struct store_answer out;
    if (s->ops->ask(s, &b, rate, n, extra, on_answer, &got, &out) != STORE_PENDING)
        return out;
    let_server_answer();
    return got;
}

static bool take(struct source *s, const struct store_rate *rate, uint64_t n) {
    struct store_answer a = ask_bucket(s, "k", rate, n, 0);
    assert_int_equal(a.status, STORE_DONE);
    return a.admitted;
}

static void move(struct source *s, const struct store_rate *rate, bool charge, uint64_t n) {
    struct bucket b = bucket_of(BYTES_LITERAL("k"));
    assert_true(s->ops->settle(s, &b, rate, charge, n));
    let_server_answer();
}

/* ---- The script ---- */

static const struct store_rate per_minute = {120, 60000000, 40, .on_failure = STORE_LOCAL},
                               sevens = {7, 1000000, 3, .on_failure = STORE_LOCAL},
                               fast = {1000000, 1000000, 100, .on_failure = STORE_LOCAL},
                               slow = {1, UINT64_C(86400000000), 30000, .on_failure = STORE_LOCAL},
                               odd = {999999937, 60000000, 8000000, .on_failure = STORE_LOCAL},
                               third = {3, 1000000, 1, .on_failure = STORE_LOCAL};
static const struct store_rate *const rates[] = {&per_minute, &sevens, &fast, &slow, &odd, &third};
#define RATES (sizeof(rates) / sizeof(rates[0]))

#define NEEDS_SERVER                                                                               \
    do {                                                                                           \
        if (!server.there)                                                                         \
            skip();                                                                                \
    } while (0)

static uint64_t rng_state = 0x9e3779b97f4a7c15u;

static uint64_t rng(void) { /* xorshift64*: the schedule only has to be irregular and repeatable */
    rng_state ^= rng_state >> 12;
    rng_state ^= rng_state << 25;
    rng_state ^= rng_state >> 27;
    return rng_state * 2685821657736338717u;
}

/* GCRA in rational arithmetic: times are in count-ths of a microsecond. */
struct oracle {
    const struct store_rate *rate;
    unsigned __int128 tat;
};

static struct store_answer oracle_ask(struct oracle *o, uint64_t n, uint64_t extra) {
    const struct store_rate *r = o->rate;
    unsigned __int128 now = (unsigned __int128)server_us * r->count, token = r->period_us;
    struct store_answer out = {.status = STORE_DONE};
    if (o->tat < now)
        o->tat = now;
    unsigned __int128 room = now + token * r->burst - o->tat, fit = room / token;
    out.admitted = fit >= n;
    if (out.admitted)
        out.granted = fit - n < extra ? (uint64_t)(fit - n) : extra;
    unsigned __int128 want = token * (n > 0 ? n : 1);
    if ((!out.admitted || n + out.granted == 0) && want > room)
        out.retry_after_us = (uint64_t)((want - room + r->count - 1) / r->count);
    if (out.admitted)
        o->tat += token * (n + out.granted);
    return out;
}

static void the_script_is_gcra(void **unused) {
    (void)unused;
    NEEDS_SERVER;
    struct source *s = source_new();
    for (size_t i = 0; i < RATES; i++) {
        struct oracle o = {.rate = rates[i]};
        uint64_t burst = rates[i]->burst, token = rates[i]->period_us / rates[i]->count + 1;
        call(1, "FLUSHALL");
        for (int k = 0; k < 400; k++) {
            set_clock(server_us + (rng() % 4 == 0 ? 0 : rng() % (3 * token)));
            uint64_t n = rng() % 8 == 0 ? rng() % (burst + 1) : rng() % 3;
            n = n <= burst ? n : burst;
            uint64_t extra = rng() % 2 == 0 ? 0 : rng() % (burst / 4 + 1);
            struct store_answer want = oracle_ask(&o, n, extra),
                                is = ask_bucket(s, "k", rates[i], n, extra);
            if (is.admitted != want.admitted || is.granted != want.granted ||
                is.retry_after_us != want.retry_after_us)
                fail_msg("rate %zu, step %d: n %lu extra %lu: %d %lu %lu, not %d %lu %lu", i, k, n,
                         extra, is.admitted, is.granted, is.retry_after_us, want.admitted,
                         want.granted, want.retry_after_us);
        }
    }
    s->ops->free(s);
}

static void settling_stays_within_a_burst(void **unused) {
    (void)unused;
    NEEDS_SERVER;
    struct source *s = source_new();
    assert_true(take(s, &per_minute, 30));
    move(s, &per_minute, false, 10);
    assert_true(take(s, &per_minute, 20));
    assert_false(take(s, &per_minute, 1));
    move(s, &per_minute, false, 40); /* more than was taken: the bucket is full, no more */
    assert_true(take(s, &per_minute, 40));
    assert_false(take(s, &per_minute, 1));
    move(s, &per_minute, true, 40); /* a debt of the burst, not of two */
    set_clock(server_us + SECONDS(20) - 1);
    assert_false(take(s, &per_minute, 40));
    set_clock(server_us + 1);
    assert_true(take(s, &per_minute, 40));
    s->ops->free(s);
}

/* A paid bucket is no key, and one that owes expires when it has paid. */
static void keys_go(void **unused) {
    (void)unused;
    NEEDS_SERVER;
    struct source *s = source_new();
    assert_true(take(s, &per_minute, 1));
    struct bucket b = bucket_of(BYTES_LITERAL("k"));
    char key[STORE_REDIS_KEY + 1] = "";
    snprintf(key, sizeof(key), "q{%.*s}", BUCKET_NAME, b.name);
    int64_t expires = call(2, "PEXPIRETIME", key);
    int64_t paid = (int64_t)((server_us + 500000) / 1000);
    assert_true(expires > paid && expires <= paid + 3);
    move(s, &per_minute, false, 1);
    assert_int_equal(call(2, "EXISTS", key), 0);
    assert_true(take(s, &per_minute, 0)); /* nothing is free, and makes no key */
    assert_int_equal(call(2, "EXISTS", key), 0);
    s->ops->free(s);
}

static void clocks_jump(void **unused) {
    (void)unused;
    NEEDS_SERVER;
    struct source *s = source_new();
    assert_true(take(s, &per_minute, 40));
    set_clock(server_us - SECONDS(3600)); /* back: none are given, none wait for an hour */
    struct store_answer a = ask_bucket(s, "k", &per_minute, 40, 0);
    assert_false(a.admitted);
    assert_int_equal(a.retry_after_us, SECONDS(20));
    assert_false(take(s, &per_minute, 1));
    set_clock(server_us + MS(500));
    assert_true(take(s, &per_minute, 1));
    set_clock(server_us + SECONDS(3600)); /* on: one burst */
    assert_true(take(s, &per_minute, 40));
    assert_false(take(s, &per_minute, 1));
    s->ops->free(s);
}

static void what_others_wrote_is_bounded(void **unused) {
    (void)unused;
    NEEDS_SERVER;
    struct source *s = source_new();
    struct bucket b = bucket_of(BYTES_LITERAL("k"));
    char key[STORE_REDIS_KEY + 1] = "";
    snprintf(key, sizeof(key), "q{%.*s}", BUCKET_NAME, b.name);
    static const char *const junk[] = {"x", "", "9007199254740993", "-5", "1.5"};
    for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++) {
        call(3, "SET", key, junk[i]);
        struct store_answer a = ask_bucket(s, "k", &per_minute, 1, 0);
        assert_true(a.admitted || a.retry_after_us <= SECONDS(20));
        call(2, "DEL", key);
    }
    s->ops->free(s);
}

/* ---- Replies ---- */

static struct redis_reply error_reply(const char *text) {
    values[0] = (struct redis_value){.type = REDIS_TEXT, .text = bytes_str(text)};
    return (struct redis_reply){.count = 1, .values = values};
}

static enum store_status begin(struct source *s, uint64_t n, uint64_t extra) {
    struct bucket b = bucket_of(BYTES_LITERAL("k"));
    struct store_answer out;
    memset(&got, 0, sizeof(got));
    return s->ops->ask(s, &b, &per_minute, n, extra, on_answer, &got, &out);
}

static void a_lost_script_is_sent_once(void **unused) {
    (void)unused;
    struct source *s = source_new();
    struct redis_reply lost = error_reply("NOSCRIPT No matching script");
    assert_int_equal(begin(s, 1, 0), STORE_PENDING);
    assert_string_equal(wire.first, "EVALSHA");
    assert_int_equal(wire.key, 3);
    assert_int_equal(wire.argv[1].len, 40);
    reply_now(REDIS_ERROR, &lost);
    assert_string_equal(wire.first, "EVAL");
    assert_int_equal(wire.argv[1].len, sizeof(script) - 1);
    assert_int_equal(answers, 0);
    lost = error_reply("NOSCRIPT No matching script");
    reply_now(REDIS_ERROR, &lost);
    assert_int_equal(wire.sent, 2);
    assert_int_equal(answers, 1);
    assert_int_equal(got.status, STORE_FAILED);
    s->ops->free(s);
}

/* Who has waited for most of his deadline waits no longer; the script is brought all the same. */
static void a_late_loss_fails_at_once(void **unused) {
    (void)unused;
    struct source *s = source_new();
    struct redis_reply lost = error_reply("NOSCRIPT");
    begin(s, 1, 0);
    fake_us += MS(3);
    reply_now(REDIS_ERROR, &lost);
    assert_int_equal(answers, 1);
    assert_int_equal(got.status, STORE_FAILED);
    assert_string_equal(wire.first, "EVAL");
    s->ops->cancel(s, &got); /* nothing of his is left */
    assert_non_null(wire.done);
    reply_now(REDIS_TIMEOUT, NULL);
    assert_int_equal(answers, 1);
    s->ops->free(s);
}

static void lies_are_no_answers(void **unused) {
    (void)unused;
    static const struct {
        bool array;
        uint32_t count;
        enum redis_type type;
        int64_t v[3];
        bool good;
    } table[] = {
        {true, 3, REDIS_INTEGER, {1, 10, 0}, true},  {true, 3, REDIS_INTEGER, {0, 0, 5}, true},
        {true, 3, REDIS_INTEGER, {1, 11, 0}, false}, {true, 3, REDIS_INTEGER, {2, 0, 0}, false},
        {true, 3, REDIS_INTEGER, {1, -1, 0}, false}, {true, 3, REDIS_INTEGER, {0, 0, -1}, false},
        {true, 2, REDIS_INTEGER, {1, 0, 0}, false},  {false, 3, REDIS_INTEGER, {1, 0, 0}, false},
        {true, 3, REDIS_NIL, {1, 0, 0}, false},      {true, 3, REDIS_TEXT, {1, 0, 0}, false},
        {false, 1, REDIS_INTEGER, {1, 0, 0}, false}, {true, 0, REDIS_INTEGER, {0, 0, 0}, false},
    };
    struct source *s = source_new();
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        for (int k = 0; k < 3; k++)
            values[k] = (struct redis_value){.type = table[i].type, .integer = table[i].v[k]};
        struct redis_reply reply = {
            .array = table[i].array, .count = table[i].count, .values = values};
        assert_int_equal(begin(s, 1, 10), STORE_PENDING);
        reply_now(REDIS_OK, &reply);
        if ((got.status == STORE_DONE) != table[i].good)
            fail_msg("row %zu", i);
    }
    s->ops->free(s);
}

static void failures_are_told(void **unused) {
    (void)unused;
    static const enum redis_result results[] = {REDIS_TIMEOUT, REDIS_DOWN};
    struct source *s = source_new();
    struct redis_reply error = error_reply("OOM command not allowed");
    for (size_t i = 0; i < 2; i++) {
        begin(s, 1, 0);
        reply_now(results[i], NULL);
        assert_int_equal(got.status, STORE_FAILED);
        assert_int_equal(s->ops->ping(s, NULL, on_answer, &got), STORE_PENDING);
        reply_now(results[i], NULL);
        assert_int_equal(got.status, STORE_FAILED);
    }
    begin(s, 1, 0);
    reply_now(REDIS_ERROR, &error);
    assert_int_equal(got.status, STORE_FAILED);
    assert_int_equal(answers, 5);
    wire.refuse = true;
    assert_int_equal(begin(s, 1, 0), STORE_FAILED);
    assert_int_equal(s->ops->ping(s, NULL, on_answer, &got), STORE_FAILED);
    assert_int_equal(answers, 5);
    s->ops->free(s);
}

/* What answers, but not as the script does, does not count. */
static void ping_runs_the_script(void **unused) {
    (void)unused;
    struct source *s = source_new();
    struct redis_value numbers[3] = {
        {.type = REDIS_INTEGER, .integer = 1}, {.type = REDIS_INTEGER}, {.type = REDIS_INTEGER}};
    struct redis_reply good = {.array = true, .count = 3, .values = numbers};
    struct redis_value ok = {.type = REDIS_TEXT, .text = BYTES_LITERAL("OK")};
    struct redis_reply status = {.count = 1, .values = &ok};
    struct redis_reply lost = error_reply("NOSCRIPT No matching script");
    assert_int_equal(s->ops->ping(s, NULL, on_answer, &got), STORE_PENDING);
    assert_memory_equal(wire.argv[3].at, "q{probe______}", 14);
    reply_now(REDIS_OK, &status);
    assert_int_equal(got.status, STORE_FAILED);
    assert_int_equal(s->ops->ping(s, NULL, on_answer, &got), STORE_PENDING);
    reply_now(REDIS_ERROR, &lost);
    reply_now(REDIS_OK, &good);
    assert_int_equal(got.status, STORE_DONE);
    assert_int_equal(answers, 2);
    struct bucket b = bucket_of(BYTES_LITERAL("k")); /* its slot, not its key */
    assert_int_equal(s->ops->ping(s, &b, on_answer, &got), STORE_PENDING);
    assert_int_equal(wire.argv[3].len, STORE_REDIS_KEY + 1);
    assert_memory_equal(wire.argv[3].at + 2, b.name, BUCKET_NAME);
    assert_memory_equal(wire.argv[3].at + 2 + BUCKET_NAME, "}p", 2);
    reply_now(REDIS_OK, &good);
    assert_int_equal(answers, 3);
    s->ops->free(s);
}

static void cancelled_is_forgotten(void **unused) {
    (void)unused;
    struct source *s = source_new();
    begin(s, 1, 0);
    s->ops->cancel(s, &got);
    assert_null(wire.done);
    begin(s, 1, 0);
    s->ops->free(s); /* with a question out */
    assert_int_equal(answers, 0);
    assert_int_equal(wire.frees, 1);
}

static void only_what_is_exact_is_counted(void **unused) {
    (void)unused;
    static const struct {
        struct store_rate rate;
        bool ok;
    } table[] = {
        {{120, 60000000, 40, .on_failure = STORE_LOCAL}, true},
        {{1000000000, 1000000, 1000000000, .on_failure = STORE_LOCAL}, true},
        {{999999937, 60000000, 1000000000, .on_failure = STORE_LOCAL}, false},
        {{1, UINT64_C(86400000000), 30000, .on_failure = STORE_LOCAL}, true},
        {{1, UINT64_C(86400000000), 100000, .on_failure = STORE_LOCAL}, false},
        {{1, 1, UINT64_MAX - 1, .on_failure = STORE_LOCAL}, false},
    };
    struct source *s = source_new();
    struct bucket b = bucket_of(BYTES_LITERAL("k"));
    struct store_answer out;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_int_equal(store_redis_counts(&table[i].rate), table[i].ok);
        if (!table[i].ok)
            assert_int_equal(s->ops->ask(s, &b, &table[i].rate, 1, 0, on_answer, &got, &out),
                             STORE_FAILED);
    }
    out = ask_bucket(s, "k", &per_minute, 41, 0); /* more than the burst is not even asked */
    assert_int_equal(out.status, STORE_DONE);
    assert_true(!out.admitted && out.retry_after_us == UINT64_MAX);
    assert_int_equal(wire.sent, 0);
    s->ops->free(s);
}

static void names_are_digests(void **unused) {
    (void)unused;
    /* printf secret | sha256sum, its first 66 bits in base64url */
    struct bucket b = bucket_of(BYTES_LITERAL("secret"));
    assert_memory_equal(b.name, "K7gNU3sdo-O", BUCKET_NAME);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_script_is_gcra, fresh),
        cmocka_unit_test_setup(settling_stays_within_a_burst, fresh),
        cmocka_unit_test_setup(keys_go, fresh),
        cmocka_unit_test_setup(clocks_jump, fresh),
        cmocka_unit_test_setup(what_others_wrote_is_bounded, fresh),
        cmocka_unit_test_setup(a_lost_script_is_sent_once, fresh),
        cmocka_unit_test_setup(a_late_loss_fails_at_once, fresh),
        cmocka_unit_test_setup(lies_are_no_answers, fresh),
        cmocka_unit_test_setup(failures_are_told, fresh),
        cmocka_unit_test_setup(ping_runs_the_script, fresh),
        cmocka_unit_test_setup(cancelled_is_forgotten, fresh),
        cmocka_unit_test_setup(only_what_is_exact_is_counted, fresh),
        cmocka_unit_test_setup(names_are_digests, fresh),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
