/* budget.c and budget_conf.c over a store that says what the test wants. */
#include "../../filters/budget.c"
#include "../../filters/budget_conf.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "noise_harness.h"

/* ---- The store ---- */

static struct {
    char key[512];
    size_t key_len;
    struct store_budget budget;
    struct store_spending what;
    struct hash128 marks[STORE_ITEMS_MAX];
    enum store_status status;
    struct store_answer answer;
    store_done_fn *done;
    void *cookie, *cancelled;
    int count;
} seen;

static enum store_status fake_spend(struct store *s, struct bytes key,
                                    const struct store_budget *budget,
                                    const struct store_spending *what, store_done_fn *done,
                                    void *cookie, struct store_answer *out) {
    (void)s;
    assert_true(key.len <= sizeof(seen.key));
    memcpy(seen.key, key.at, key.len);
    seen.key_len = key.len;
    seen.budget = *budget;
    seen.what = *what;
    if (what->marks != NULL)
        memcpy(seen.marks, what->marks, what->items * sizeof(*what->marks));
    seen.done = done;
    seen.cookie = cookie;
    seen.count++;
    if (seen.status == STORE_DONE)
        *out = seen.answer;
    return seen.status;
}

static void fake_cancel(struct store *s, void *cookie) {
    (void)s;
    seen.cancelled = cookie;
}

static const struct store_ops fake_ops = {
    .name = "fake", .spend = fake_spend, .cancel = fake_cancel};
static struct store fake_store = {&fake_ops};

static struct verdict resumed;
static int resumptions;

void filter_resume(struct exchange *exchange, struct verdict verdict) {
    (void)exchange;
    resumed = verdict;
    resumptions++;
}

/* ---- Mechanisms ---- */

struct mechanism {
    uint32_t covers;
    double epsilon;
    bool sticky, none;
};

static bool mechanism_privacy(const void *conf, struct privacy *out) {
    const struct mechanism *m = conf;
    *out = (struct privacy){.covers = m->covers,
                            .epsilon = m->epsilon,
                            .loss = loss_pure(m->epsilon),
                            .sticky = m->sticky,
                            .sensitivity = "all",
                            .unit = "everything",
                            .why = m->none ? "it is none" : NULL};
    return !m->none;
}

static const struct filter filter_mechanism = {
    .name = "mechanism", .conf_size = sizeof(struct mechanism), .privacy = mechanism_privacy};

#define SCORES (1u << OUT_SCORES)
#define VALUE  (1u << OUT_VALUE)
static const struct mechanism one = {SCORES, 1, true, false},
                              half = {SCORES | VALUE, 0.5, true, false},
                              fresh_one = {SCORES, 1, false, false}, none = {SCORES, 0, true, true};

static bool follow(struct budget_conf *conf, struct conf_error *error, const struct mechanism *a,
                   const struct mechanism *b) {
    struct filter_use behind[2] = {{&filter_mechanism, a, {1, 2}}, {&filter_mechanism, b, {3, 4}}};
    return budget_after(conf, behind, b != NULL ? 2 : a != NULL ? 1 : 0, error);
}

static struct budget_conf made(double epsilon, const char *window, const struct mechanism *a,
                               const struct mechanism *b) {
    struct budget_conf conf = {.epsilon = epsilon,
                               .window = bytes_str(window),
                               .when_spent = BYTES_LITERAL("deny"),
                               .on_failure = STORE_CLOSED};
    struct conf_error error;
    assert_true(budget_check(&conf, &error));
    assert_true(follow(&conf, &error, a, b));
    return conf;
}

/* ---- A call ---- */

static struct bench bench;
static struct state own_state;
static uint32_t outputs[BUDGET_KINDS];

static void begin(const struct budget_conf *conf) {
    if (bench.arena != NULL)
        bench_close(&bench);
    bench_open(&bench, conf);
    bench.client = (struct client){.key = BYTES_LITERAL("k1:alice"), .tier = BYTES_LITERAL("gold")};
    memset(&own_state, 0, sizeof(own_state));
    bench.call.state = &own_state;
    bench.call.store = &fake_store;
    bench.call.outputs = outputs;
}

static int setup(void **unused) {
    (void)unused;
    memset(&seen, 0, sizeof(seen));
    memset(outputs, 0, sizeof(outputs));
    memset(versions.at, 0, sizeof(versions.at));
    outputs[OUT_SCORES] = 1;
    resumptions = 0;
    seen.answer = (struct store_answer){.admitted = true, .charged = 1};
    return 0;
}

static int teardown(void **unused) {
    (void)unused;
    bench_close(&bench);
    bench.arena = NULL;
    return 0;
}

static const double rows[] = {1, 2, 3, 4, 1, 2, 5, 6};

static struct verdict ask(const struct budget_conf *conf, const double *data, uint32_t n) {
    begin(conf);
    bench_input(&bench, "x", data, n, 2);
    return on_query(&bench.call);
}

static struct verdict answer_of(const char *version, uint32_t n) {
    static const double values[] = {0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5};
    struct output o = bench_output(OUT_SCORES, DTYPE_FP64, n, 2, values, bench.arena);
    struct predictions p = {.outputs = &o, .count = 1, .version = bytes_str(version)};
    return on_answer(&bench.call, &p);
}

/* So that repeats have marks. */
static void learn(const struct budget_conf *conf, const char *version) {
    ask(conf, rows, 1);
    assert_int_equal(answer_of(version, 1).kind, VERDICT_PASS);
}

/* ---- What is paid ---- */

static void test_costs(void **unused) {
    (void)unused;
    struct budget_conf conf = made(100, "never", &one, &half);
    outputs[OUT_SCORES] = 2;
    outputs[OUT_VALUE] = 3;
    assert_int_equal(ask(&conf, rows, 4).kind, VERDICT_PASS);
    assert_true(seen.what.marks == NULL && seen.what.items == 4);
    /* Of two on scores the first counts; values have only the second. */
    assert_int_equal(seen.what.cost[LOSS_PURE], (uint64_t)(3.5e12));
    assert_int_equal(seen.what.cost[LOSS_ZCDP], (uint64_t)(2 * 0.5e12 + 3 * 0.125e12));
    assert_int_equal(seen.budget.limit[LOSS_PURE], (uint64_t)100e12);
    assert_int_equal(seen.budget.limit[LOSS_ZCDP], 0);
    assert_true(seen.budget.window_us == 0 && seen.budget.on_failure == STORE_CLOSED);
    assert_true(bench.call.charge.rows == 1 && bench.call.charge.free_rows == 3);
}

static void test_whose(void **unused) {
    (void)unused;
    struct budget_conf conf = made(100, "never", &one, NULL);
    char keys[4][512];
    size_t lens[4];
    for (int i = 0; i < 4; i++) {
        conf.per = i == 3 ? BUDGET_PER_CLIENT : i;
        begin(&conf);
        if (i == 3)
            bench.call.model_name = BYTES_LITERAL("other");
        bench_input(&bench, "x", rows, 1, 2);
        on_query(&bench.call);
        memcpy(keys[i], seen.key, seen.key_len);
        lens[i] = seen.key_len;
        for (int k = 0; k < i; k++)
            assert_true(lens[i] != lens[k] || memcmp(keys[i], keys[k], lens[i]) != 0);
    }
    begin(&conf);
    conf.per = BUDGET_PER_TIER;
    bench.client.tier = bytes_of(NULL, 0);
    bench_input(&bench, "x", rows, 1, 2);
    on_query(&bench.call);
    assert_true(seen.key_len == lens[0] && memcmp(keys[0], seen.key, lens[0]) == 0);
}

static bool same_mark(struct hash128 a, struct hash128 b) {
    return a.lo == b.lo && a.hi == b.hi;
}

static void test_marks(void **unused) {
    (void)unused;
    struct budget_conf conf = made(100, "never", &one, NULL);
    ask(&conf, rows, 4);
    assert_null(seen.what.marks); /* the version is not known yet */
    learn(&conf, "1");
    ask(&conf, rows, 4);
    assert_int_equal(seen.what.items, 4);
    struct hash128 first[4];
    memcpy(first, seen.marks, sizeof(first));
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < i; k++)
            assert_int_equal(same_mark(first[i], first[k]), i == 2 && k == 0);
    ask(&conf, rows + 4, 1);
    assert_true(same_mark(seen.marks[0], first[2]));
    conf.draws.lo++;
    ask(&conf, rows, 1);
    assert_false(same_mark(seen.marks[0], first[0]));
    conf.draws.lo--;
    begin(&conf);
    bench.client.key = BYTES_LITERAL("k1:bob");
    bench_input(&bench, "x", rows, 1, 2);
    on_query(&bench.call);
    assert_false(same_mark(seen.marks[0], first[0]));
    ask(&conf, rows, 1);
    assert_true(same_mark(seen.marks[0], first[0]));
}

static void test_fresh_draws_have_no_marks(void **unused) {
    (void)unused;
    struct budget_conf conf = made(100, "never", &half, &fresh_one);
    learn(&conf, "1");
    ask(&conf, rows, 1);
    assert_null(seen.what.marks);
}

static void test_too_many_rows_for_marks(void **unused) {
    (void)unused;
    static double many[2 * (STORE_ITEMS_MAX + 1)];
    struct budget_conf conf = made(100, "never", &one, NULL);
    learn(&conf, "1");
    ask(&conf, many, STORE_ITEMS_MAX);
    assert_non_null(seen.what.marks);
    ask(&conf, many, STORE_ITEMS_MAX + 1);
    assert_true(seen.what.marks == NULL && seen.what.items == STORE_ITEMS_MAX + 1);
}

/* A batch of which no input has the rows is one question, and costs them all. */
static void test_one_question_of_many_rows(void **unused) {
    (void)unused;
    struct budget_conf conf = made(100, "never", &one, NULL);
    learn(&conf, "1");
    begin(&conf);
    bench_input(&bench, "x", rows, 1, 8);
    bench.query.rows = 7;
    on_query(&bench.call);
    assert_true(seen.what.items == 1 && seen.what.marks != NULL);
    assert_int_equal(seen.what.cost[LOSS_PURE], (uint64_t)7e12);
}

/* ---- Verdicts ---- */

static void test_verdicts(void **unused) {
    (void)unused;
    struct budget_conf conf = made(10, "never", &one, NULL);
    seen.status = STORE_FAILED;
    struct verdict v = ask(&conf, rows, 1);
    assert_true(v.kind == VERDICT_FAULT && v.status == 503 && bench.call.charge.unit == NULL);
    seen.status = STORE_DONE;
    seen.answer = (struct store_answer){.admitted = true, .fallback = true};
    assert_int_equal(ask(&conf, rows, 1).kind, VERDICT_PASS);
    assert_null(bench.call.charge.unit);
    seen.answer = (struct store_answer){.retry_after_us = UINT64_MAX, .spent = {9500000000000}};
    v = ask(&conf, rows, 1);
    assert_true(v.kind == VERDICT_DENY && v.status == 403 && v.retry_after_ms == 0);
    assert_true(bench.call.charge.denied && bench.call.charge.rows == 0);
    assert_true(fabs(bench.call.charge.share - 0.95) < 1e-9 && bench.call.charge.spent == 9.5);
    seen.answer.retry_after_us = 1500000;
    v = ask(&conf, rows, 1);
    assert_true(v.status == 429 && v.retry_after_ms == 1501);
    conf.spent.policy = (const struct policy *)&seen;
    v = ask(&conf, rows, 1);
    assert_true(v.kind == VERDICT_SWITCH && v.policy == conf.spent.policy);
}

static void test_charge(void **unused) {
    (void)unused;
    struct budget_conf conf = made(10, "30d", &one, NULL);
    learn(&conf, "1");
    seen.answer = (struct store_answer){.admitted = true, .charged = 3, .spent = {5000000000000}};
    ask(&conf, rows, 4);
    const struct charge *c = &bench.call.charge;
    assert_true(c->rows == 3 && c->free_rows == 1 && !c->denied);
    assert_true(fabs(c->cost - 3) < 1e-9 && c->spent == 5 && c->limit == 10 && c->share == 0.5);
    assert_string_equal(c->unit, "epsilon");
    assert_true(seen.budget.window_us == UINT64_C(30) * 86400 * 1000000);
}

static void test_waiting(void **unused) {
    (void)unused;
    struct budget_conf conf = made(10, "never", &one, NULL);
    seen.status = STORE_PENDING;
    assert_int_equal(ask(&conf, rows, 1).kind, VERDICT_WAIT);
    seen.done(seen.cookie, &seen.answer);
    assert_true(resumptions == 1 && resumed.kind == VERDICT_PASS);
    on_close(&bench.call);
    assert_null(seen.cancelled);
    assert_int_equal(ask(&conf, rows, 1).kind, VERDICT_WAIT);
    on_close(&bench.call);
    assert_ptr_equal(seen.cancelled, seen.cookie);
}

/* ---- Answers ---- */

static void test_no_more_leaves_than_was_paid_for(void **unused) {
    (void)unused;
    struct budget_conf conf = made(10, "never", &one, NULL);
    ask(&conf, rows, 2);
    assert_int_equal(answer_of("1", 2).kind, VERDICT_PASS);
    assert_int_equal(answer_of("1", 1).kind, VERDICT_PASS);
    assert_int_equal(answer_of("1", 3).status, 502);
    struct output two[2] = {bench_output(OUT_SCORES, DTYPE_FP64, 1, 2, rows, bench.arena),
                            bench_output(OUT_SCORES, DTYPE_FP64, 1, 2, rows, bench.arena)};
    struct predictions p = {.outputs = two, .count = 2, .version = BYTES_LITERAL("1")};
    assert_int_equal(on_answer(&bench.call, &p).status, 502);
    two[1].dropped = true;
    assert_int_equal(on_answer(&bench.call, &p).kind, VERDICT_PASS);
    two[0].kind = OUT_LABELS;
    assert_int_equal(on_answer(&bench.call, &p).status, 502);
}

static void test_versions(void **unused) {
    (void)unused;
    struct budget_conf conf = made(10, "never", &one, NULL);
    learn(&conf, "1");
    ask(&conf, rows, 1);
    struct hash128 first = seen.marks[0];
    seen.answer.charged = 0;
    ask(&conf, rows, 1);
    assert_int_equal(answer_of("1", 1).kind, VERDICT_PASS);
    ask(&conf, rows, 1);
    struct verdict v = answer_of("2", 1);
    assert_true(v.kind == VERDICT_FAULT && v.status == 503);
    seen.answer.charged = 1;
    ask(&conf, rows, 1);
    assert_false(same_mark(seen.marks[0], first));
    /* Paid for, and withheld: the mark stands for an answer of "2", which another gate may give. */
    assert_int_equal(answer_of("1", 1).status, 503);
    ask(&conf, rows, 1);
    assert_true(same_mark(seen.marks[0], first));
    assert_int_equal(answer_of("1", 1).kind, VERDICT_PASS);
}

/* ---- Configuration ---- */

static void test_windows(void **unused) {
    (void)unused;
    static const struct {
        const char *text;
        uint64_t us;
    } table[] = {{"never", 0},
                 {"30d", UINT64_C(2592000000000)},
                 {"12h", 43200000000},
                 {"90min", 5400000000},
                 {"1s", 1000000}};
    static const char *const bad[] = {"",       "0d",   "d",      "30",           "30 d", "-1d",
                                      "30days", "1.5h", "never ", "99999999999d", "4000d"};
    uint64_t us;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_true(read_window(bytes_str(table[i].text), &us));
        assert_int_equal(us, table[i].us);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(read_window(bytes_str(bad[i]), &us));
}

static void test_contradictions(void **unused) {
    (void)unused;
    struct conf_error error = {.option = NULL};
    struct budget_conf conf = made(1, "never", &one, NULL);
    const struct mechanism two = {SCORES, 1.000001, true, false};
    struct budget_conf again = made(1, "never", &one, NULL);
    again.covers = 0;
    assert_false(follow(&again, &error, NULL, NULL));
    assert_non_null(strstr(error.text, "needs a mechanism"));
    assert_false(follow(&again, &error, &none, NULL));
    assert_string_equal(error.text, "it is none");
    assert_false(follow(&again, &error, &two, NULL));
    assert_non_null(strstr(error.text, "more than the whole budget"));
    uint32_t kinds[BUDGET_KINDS] = {[OUT_SCORES] = 1};
    assert_true(budget_fits(&conf, kinds, &error));
    kinds[OUT_SCORES] = 2;
    assert_false(budget_fits(&conf, kinds, &error));
    kinds[OUT_SCORES] = 1;
    for (int k = 0; k < BUDGET_KINDS; k++) {
        kinds[k] = 1;
        assert_int_equal(budget_fits(&conf, kinds, &error), k == OUT_SCORES);
        kinds[k] = k == OUT_SCORES;
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_costs),
        TEST(test_whose),
        TEST(test_marks),
        TEST(test_fresh_draws_have_no_marks),
        TEST(test_too_many_rows_for_marks),
        TEST(test_one_question_of_many_rows),
        TEST(test_verdicts),
        TEST(test_charge),
        TEST(test_waiting),
        TEST(test_no_more_leaves_than_was_paid_for),
        TEST(test_versions),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_contradictions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
