#include "../../filters/rate_limit.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* A store that says what the test wants and remembers what it was asked. */
static struct {
    char key[512];
    size_t key_len;
    struct store_rate rate;
    uint64_t n;
    enum store_status status;
    struct store_answer answer;
    store_done_fn *done;
    void *cookie, *cancelled;
} seen;

static enum store_status fake_take(struct store *s, struct bytes key, const struct store_rate *rate,
                                   uint64_t n, store_done_fn *done, void *cookie,
                                   struct store_answer *out) {
    (void)s;
    assert_true(key.len <= sizeof(seen.key));
    memcpy(seen.key, key.at, key.len);
    seen.key_len = key.len;
    seen.rate = *rate;
    seen.n = n;
    seen.done = done;
    seen.cookie = cookie;
    if (seen.status == STORE_DONE)
        *out = seen.answer;
    return seen.status;
}

static void fake_cancel(struct store *s, void *cookie) {
    (void)s;
    seen.cancelled = cookie;
}

static const struct store_ops fake_ops = {.name = "fake", .take = fake_take, .cancel = fake_cancel};
static struct store fake_store = {&fake_ops};

static struct {
    struct exchange *exchange;
    struct verdict verdict;
    int count;
} resumed;

void filter_resume(struct exchange *exchange, struct verdict verdict) {
    resumed.exchange = exchange;
    resumed.verdict = verdict;
    resumed.count++;
}

static struct arena *arena;
static struct client client;
static struct query query;
static struct state state;
static struct filter_call call;

static int setup(void **unused) {
    (void)unused;
    memset(&seen, 0, sizeof(seen));
    memset(&resumed, 0, sizeof(resumed));
    memset(&state, 0, sizeof(state));
    arena = arena_new(MIB(1));
    client = (struct client){.key = BYTES_LITERAL("k1:0123456789abcdef")};
    query = (struct query){.rows = 1};
    call = (struct filter_call){.exchange = (struct exchange *)&resumed,
                                .client = &client,
                                .query = &query,
                                .model_name = BYTES_LITERAL("digits"),
                                .state = &state,
                                .arena = arena,
                                .store = &fake_store};
    return 0;
}

static int teardown(void **unused) {
    (void)unused;
    arena_free(arena);
    return 0;
}

static struct conf checked(struct conf conf) {
    struct conf_error error;
    assert_true(check(&conf, &error));
    return conf;
}

static struct verdict run(const struct conf *conf) {
    call.conf = conf;
    return on_query(&call);
}

static const struct rate per_minute = {120, 60000000};

static void check_finds_what_is_wrong(void **unused) {
    (void)unused;
    static const char long_name[] =
        "12345678901234567890123456789012345678901234567890123456789012345";
    static const struct {
        struct conf conf;
        const char *option;
        bool ok;
    } table[] = {
        {{.queries = {1, 1000000}}, NULL, true},
        {{.requests = {1, 1000000}}, NULL, true},
        {{.queries = {1, 1000000}, .requests = {1, 1000000}}, NULL, false},
        {{.burst = 5}, NULL, false},
        {{.queries = {1, 86400000000}, .burst = 1000000}, "burst", false},
        {{.queries = {1, 86400000000}, .burst = 30000}, NULL, true},
        {{.queries = {1000000000, 1000000}, .burst = 1000000000}, NULL, true},
        {{.queries = {999999937, 60000000}, .burst = 1000000000}, "burst", false}, /* past 2^53 */
        {{.queries = {999999937, 60000000}, .burst = 100000000}, NULL, true},
        {{.queries = {1, 1000000}, .name = {long_name, 64}}, NULL, true},
        {{.queries = {1, 1000000}, .name = {long_name, 65}}, "name", false},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct conf conf = table[i].conf;
        struct conf_error error = {.option = "unset"};
        assert_int_equal(check(&conf, &error), table[i].ok);
        if (!table[i].ok && table[i].option != NULL)
            assert_string_equal(error.option, table[i].option);
        else if (!table[i].ok)
            assert_null(error.option);
    }
}

static void burst_has_a_default(void **unused) {
    (void)unused;
    static const uint64_t table[][2] = {{1, 1}, {9, 1}, {19, 1}, {20, 2}, {120, 12}, {1000, 100}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct conf conf = checked((struct conf){.queries = {table[i][0], 60000000}});
        assert_int_equal(conf.burst, table[i][1]);
        assert_int_equal(conf.rate.burst, table[i][1]);
    }
    assert_int_equal(checked((struct conf){.queries = per_minute, .burst = 40}).rate.burst, 40);
}

static void longest_identity_fits(void **unused) {
    (void)unused;
    char name[NAME_MAX_BYTES];
    memset(name, 'n', sizeof(name));
    struct conf conf = checked((struct conf){.name = bytes_of(name, sizeof(name)),
                                             .per = PER_CLIENT_AND_MODEL,
                                             .exact = true,
                                             .requests = {1000000000, UINT64_C(86400000000)},
                                             .burst = 1000000000});
    assert_true(conf.prefix_len < PREFIX_MAX);
}

static void charges_rows_or_requests(void **unused) {
    (void)unused;
    struct conf rows = checked((struct conf){.queries = per_minute});
    struct conf requests = checked((struct conf){.requests = per_minute});
    seen.answer.admitted = true;
    query.rows = 17;
    assert_int_equal(run(&rows).kind, VERDICT_PASS);
    assert_int_equal(seen.n, 17);
    assert_int_equal(seen.rate.count, 1); /* of 120 a minute */
    assert_int_equal(seen.rate.period_us, 500000);
    assert_int_equal(run(&requests).kind, VERDICT_PASS);
    assert_int_equal(seen.n, 1);
    query.rows = 0; /* never free, whatever the codec made of it */
    run(&rows);
    assert_int_equal(seen.n, 1);
}

static void answers_become_verdicts(void **unused) {
    (void)unused;
    static const struct {
        enum store_status status;
        bool admitted;
        uint64_t retry_us;
        enum verdict_kind kind;
        uint16_t http;
        uint32_t retry_ms;
    } table[] = {
        {STORE_DONE, true, 0, VERDICT_PASS, 0, 0},
        {STORE_DONE, false, 1, VERDICT_DENY, 429, 1},
        {STORE_DONE, false, 1000, VERDICT_DENY, 429, 1},
        {STORE_DONE, false, 1001, VERDICT_DENY, 429, 2},
        {STORE_DONE, false, UINT64_MAX - 1, VERDICT_DENY, 429, UINT32_MAX},
        {STORE_DONE, false, UINT64_MAX, VERDICT_DENY, 429, 0},
        {STORE_FAILED, false, 0, VERDICT_FAULT, 503, 1000},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct conf conf = checked((struct conf){.queries = per_minute});
        seen.status = table[i].status;
        seen.answer = (struct store_answer){.status = STORE_DONE,
                                            .admitted = table[i].admitted,
                                            .retry_after_us = table[i].retry_us};
        struct verdict v = run(&conf);
        assert_int_equal(v.kind, table[i].kind);
        assert_int_equal(v.status, table[i].http);
        assert_int_equal(v.retry_after_ms, table[i].retry_ms);
        assert_true((v.reason == NULL) == (v.kind == VERDICT_PASS));
    }
}

struct asked {
    struct conf conf;
    const char *client, *model, *address;
};

static bool same_bucket(const struct asked *a, const struct asked *b) {
    char key[sizeof(seen.key)];
    struct conf conf = checked(a->conf);
    client.key = bytes_str(a->client);
    client.address = bytes_str(a->address);
    call.model_name = bytes_str(a->model);
    run(&conf);
    size_t len = seen.key_len;
    memcpy(key, seen.key, len);
    conf = checked(b->conf);
    client.key = bytes_str(b->client);
    client.address = bytes_str(b->address);
    call.model_name = bytes_str(b->model);
    run(&conf);
    return len == seen.key_len && memcmp(key, seen.key, len) == 0;
}

#define RULE(...)                                                                                  \
    { .queries = {120, 60000000}, __VA_ARGS__ }
#define EACH .per = PER_CLIENT_AND_MODEL

static void buckets_are_shared_only_by_the_same(void **unused) {
    (void)unused;
    static const struct {
        struct asked a, b;
        bool same;
    } table[] = {
        {{RULE(.burst = 9), "a", "m", ""},
         {RULE(.burst = 9), "a", "m", ""},
         true}, /* after a reload */
        {{RULE(.burst = 9), "a", "m", ""}, {RULE(.burst = 8), "a", "m", ""}, false},
        {{RULE(.per = PER_CLIENT), "a", "m", ""}, {RULE(.per = PER_CLIENT), "a", "n", ""}, true},
        {{RULE(.per = PER_CLIENT), "a", "m", ""}, {RULE(.per = PER_CLIENT), "b", "m", ""}, false},
        {{RULE(.per = PER_CLIENT), "a", "m", "x"}, {RULE(.per = PER_CLIENT), "a", "m", "y"}, true},
        {{RULE(.per = PER_ADDRESS), "a", "m", "x"},
         {RULE(.per = PER_ADDRESS), "b", "n", "x"},
         true},
        {{RULE(.per = PER_ADDRESS), "a", "m", "x"},
         {RULE(.per = PER_ADDRESS), "a", "m", "y"},
         false},
        {{RULE(.per = PER_ADDRESS), "", "", "x"}, {RULE(.per = PER_CLIENT), "x", "", ""}, false},
        {{RULE(.per = PER_MODEL), "a", "m", ""}, {RULE(.per = PER_MODEL), "b", "m", ""}, true},
        {{RULE(.per = PER_MODEL), "a", "m", ""}, {RULE(.per = PER_MODEL), "a", "n", ""}, false},
        {{RULE(.per = PER_EVERYONE), "a", "m", ""},
         {RULE(.per = PER_EVERYONE), "b", "n", ""},
         true},
        {{RULE(EACH), "a", "m", ""}, {RULE(EACH), "a", "m", ""}, true},
        {{RULE(EACH), "a", "m", ""}, {RULE(EACH), "a", "n", ""}, false},
        {{RULE(EACH), "a", "m", ""}, {RULE(EACH), "b", "m", ""}, false},
        {{RULE(EACH), "ab", "c", ""}, {RULE(EACH), "a", "bc", ""}, false},
        {{RULE(EACH), "a|b", "c", ""}, {RULE(EACH), "a", "b|c", ""}, false},
        {{RULE(.per = PER_CLIENT), "a", "", ""}, {RULE(.per = PER_MODEL), "", "a", ""}, false},
        {{RULE(.name = {"x", 1}), "a", "m", ""}, {RULE(.name = {"y", 1}), "a", "m", ""}, false},
        {{RULE(.name = {"x", 1}), "a", "m", ""}, {RULE(.name = {NULL, 0}), "a", "m", ""}, false},
        {{RULE(.exact = true), "a", "m", ""}, {RULE(.exact = false), "a", "m", ""}, false},
        {{{.requests = {120, 60000000}}, "a", "m", ""}, {RULE(.per = 0), "a", "m", ""}, false},
        {{RULE(.per = 0), "a", "m", ""},
         {{.queries = {2, 1000000}, .burst = 12}, "a", "m", ""},
         false},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (same_bucket(&table[i].a, &table[i].b) != table[i].same)
            fail_msg("row %zu", i);
}

static void waits_and_goes_on(void **unused) {
    (void)unused;
    struct conf conf = checked((struct conf){.queries = per_minute});
    struct store_answer answer = {.status = STORE_DONE, .retry_after_us = 2500};
    seen.status = STORE_PENDING;
    assert_int_equal(run(&conf).kind, VERDICT_WAIT);
    assert_int_equal(resumed.count, 0);
    seen.done(seen.cookie, &answer);
    assert_int_equal(resumed.count, 1);
    assert_ptr_equal(resumed.exchange, call.exchange);
    assert_int_equal(resumed.verdict.kind, VERDICT_DENY);
    assert_int_equal(resumed.verdict.retry_after_ms, 3);
    on_close(&call);
    assert_null(seen.cancelled); /* nothing was pending any more */
}

/* What the rule says about the store reaches it. */
static void the_store_is_told(void **unused) {
    (void)unused;
    static const enum store_on_failure modes[] = {STORE_LOCAL, STORE_CLOSED, STORE_OPEN,
                                                  STORE_AS_CONFIGURED};
    seen.answer.admitted = true;
    for (int i = 0; i < 4; i++) {
        struct conf conf = checked(
            (struct conf){.queries = per_minute, .on_failure = (int)modes[i], .exact = i % 2 == 1});
        run(&conf);
        assert_int_equal(seen.rate.on_failure, modes[i]);
        assert_int_equal(seen.rate.exact, i % 2 == 1);
        assert_string_equal(on_failure_words[modes[i]],
                            ((const char *[]){"local", "closed", "open", "store"})[i]);
    }
}

static void closing_cancels_what_is_pending(void **unused) {
    (void)unused;
    struct conf conf = checked((struct conf){.queries = per_minute});
    on_close(&call); /* on_query never ran */
    assert_null(seen.cancelled);
    seen.status = STORE_PENDING;
    run(&conf);
    on_close(&call);
    assert_ptr_equal(seen.cancelled, seen.cookie);
    assert_int_equal(resumed.count, 0);
}

static void no_memory_is_a_fault(void **unused) {
    (void)unused;
    struct conf conf = checked((struct conf){.queries = per_minute});
    struct arena *tiny = arena_new(8);
    call.arena = tiny;
    assert_int_equal(run(&conf).kind, VERDICT_FAULT);
    arena_free(tiny);
}

static void explain_says(void **unused) {
    (void)unused;
    static const struct {
        struct conf conf;
        const char *has;
    } table[] = {
        {{.queries = {120, 60000000}, .burst = 40},
         "at most 120 queries per minute of each client"},
        {{.queries = {120, 60000000}, .burst = 40}, "rate x time + 40"},
        {{.requests = {5, 1000000}}, "a request costs one"},
        {{.requests = {5, 1000000}, .per = PER_EVERYONE}, "of everyone together"},
        {{.requests = {5, 1000000}, .on_failure = STORE_OPEN}, "pass uncounted"},
        {{.requests = {5, 1000000}, .on_failure = STORE_CLOSED}, "refused with 503"},
        {{.requests = {5, 1000000}, .on_failure = STORE_LOCAL}, "each gate counts for itself"},
        {{.requests = {5, 1000000}, .on_failure = STORE_AS_CONFIGURED}, "store.on_failure decides"},
        {{.requests = {5, 1000000}, .burst = 43}, "rate x time + 43 + n x 10"},
        {{.requests = {5, 1000000}, .burst = 43, .exact = true}, "share this bound\n"},
        {{.requests = {5, 1000000}, .burst = 3}, "share this bound\n"},
        {{.requests = {5, 1000000}}, "n credentials"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct conf conf = checked(table[i].conf);
        struct buf out;
        buf_init(&out, KIB(4));
        explain(&conf, &out);
        buf_add_char(&out, '\0');
        assert_false(out.failed);
        assert_non_null(strstr(out.at, table[i].has));
        buf_free(&out);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(check_finds_what_is_wrong),
        TEST(burst_has_a_default),
        TEST(longest_identity_fits),
        TEST(charges_rows_or_requests),
        TEST(answers_become_verdicts),
        TEST(buckets_are_shared_only_by_the_same),
        TEST(waits_and_goes_on),
        TEST(closing_cancels_what_is_pending),
        TEST(the_store_is_told),
        TEST(no_memory_is_a_fault),
        TEST(explain_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
