/* The chain runs filters in order, latches the first refusal, waits, resumes, and in observe mode
 * lets nothing follow from a decision. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../../proxy/chain.c"

static char trace[256];

static void note(const struct filter_call *call, char what) {
    size_t n = strlen(trace);
    trace[n] = what;
    trace[n + 1] = *(const char *)call->conf;
    trace[n + 2] = '\0';
}

static struct verdict next_verdict[3];
static struct verdict query_verdict(struct filter_call *call) {
    note(call, 'q');
    *(char *)call->state = 1;
    return next_verdict[*(const char *)call->conf - 'a'];
}
static struct verdict answer_doubles(struct filter_call *call, struct predictions *p) {
    note(call, 'a');
    double *v = output_values(call->arena, &p->outputs[0]);
    assert_non_null(v);
    v[0] *= 2;
    p->outputs[0].changed = true;
    return verdict_pass();
}
static void closes(struct filter_call *call) {
    note(call, 'c');
}

static const struct filter all = {.name = "all",
                                  .state_size = 1,
                                  .on_query = query_verdict,
                                  .on_answer = answer_doubles,
                                  .on_close = closes};
static const struct filter silent = {.name = "silent"};

static char confs[] = "abc";
static struct filter_slot slots[] = {{.filter = &all, .conf = &confs[0]},
                                     {.filter = &silent, .conf = &confs[1], .series = 1},
                                     {.filter = &all, .conf = &confs[2], .series = 2}};
static struct policy policy = {.slots = slots, .slot_count = 3};
static struct arena *arena;
static struct stats *stats;
static struct chain chain;

static int begin(void **state) {
    (void)state;
    trace[0] = '\0';
    for (int i = 0; i < 3; i++)
        next_verdict[i] = verdict_pass();
    policy.observe = false;
    arena = arena_new(MIB(1));
    stats = stats_new();
    return chain_begin(&chain, &policy, &(struct filter_call){.arena = arena}) ? 0 : -1;
}

static int end(void **state) {
    (void)state;
    arena_free(arena);
    stats_free(stats);
    return 0;
}

static uint64_t counted(unsigned slot, enum filter_counter c) {
    return atomic_load(&stats->filters[slot][c]);
}

static void passes_in_order(void **state) {
    (void)state;
    assert_int_equal(chain_query(&chain, stats).kind, VERDICT_PASS);
    chain_close(&chain);
    assert_string_equal(trace, "qaqccacc");
    assert_int_equal(counted(0, FILTER_PASS), 1);
    assert_int_equal(counted(2, FILTER_PASS), 1);
}

static void first_refusal_ends_it(void **state) {
    (void)state;
    next_verdict[0] = verdict_deny(429, "too many");
    struct verdict v = chain_query(&chain, stats);
    assert_int_equal(v.kind, VERDICT_DENY);
    assert_int_equal(v.status, 429);
    assert_string_equal(chain.refused_by, "all");
    chain_close(&chain);
    assert_string_equal(trace, "qaca"); /* Who was not entered is not closed. */
    assert_int_equal(counted(0, FILTER_DENY), 1);
}

static void a_fault_is_counted_apart(void **state) {
    (void)state;
    next_verdict[2] = verdict_fault("store");
    assert_int_equal(chain_query(&chain, stats).status, 503);
    assert_int_equal(counted(2, FILTER_FAULT), 1);
    assert_int_equal(counted(2, FILTER_DENY), 0);
}

static void waits_and_resumes_at_the_same_slot(void **state) {
    (void)state;
    next_verdict[0] = verdict_wait();
    assert_int_equal(chain_query(&chain, stats).kind, VERDICT_WAIT);
    assert_string_equal(trace, "qa");
    assert_int_equal(chain_resume(&chain, stats, verdict_pass()).kind, VERDICT_PASS);
    assert_string_equal(trace, "qaqc");
    assert_int_equal(counted(0, FILTER_PASS), 1);
}

static void a_late_refusal_ends_it_too(void **state) {
    (void)state;
    next_verdict[0] = verdict_wait();
    assert_int_equal(chain_query(&chain, stats).kind, VERDICT_WAIT);
    assert_int_equal(chain_resume(&chain, stats, verdict_deny(429, "late")).kind, VERDICT_DENY);
    chain_close(&chain);
    assert_string_equal(trace, "qaca");
}

static struct predictions answer(void) {
    static struct output o;
    static float one = 1;
    o = (struct output){.tensor = {.dtype = DTYPE_FP32,
                                   .rank = 1,
                                   .shape = {1},
                                   .elements = 1,
                                   .data = {(const char *)&one, sizeof(one)}},
                        .kind = OUT_SCORES,
                        .rows = 1,
                        .cols = 1,
                        .grid_digits = -1};
    return (struct predictions){.outputs = &o, .count = 1};
}

static void answers_run_top_to_bottom(void **state) {
    struct predictions p = answer();
    (void)state;
    assert_int_equal(chain_answer(&chain, stats, &p).kind, VERDICT_PASS);
    assert_string_equal(trace, "aaac");
    assert_true(p.outputs[0].changed && p.outputs[0].values[0] == 4);
}

static void observe_changes_nothing(void **state) {
    struct predictions p = answer();
    (void)state;
    policy.observe = true;
    next_verdict[0] = verdict_deny(429, "too many");
    next_verdict[2] = verdict_fault("store");
    assert_int_equal(chain_query(&chain, stats).kind, VERDICT_PASS);
    assert_int_equal(chain.observed_count, 2);
    assert_null(chain.refused_by);
    assert_int_equal(counted(0, FILTER_WOULD_DENY), 1);
    assert_int_equal(counted(0, FILTER_DENY), 0);
    assert_int_equal(chain_answer(&chain, stats, &p).kind, VERDICT_PASS);
    assert_false(p.outputs[0].changed);
    assert_null(p.outputs[0].values);
    assert_string_equal(trace, "qaqcaaac");
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(passes_in_order),
        TEST(first_refusal_ends_it),
        TEST(a_fault_is_counted_apart),
        TEST(waits_and_resumes_at_the_same_slot),
        TEST(a_late_refusal_ends_it_too),
        TEST(answers_run_top_to_bottom),
        TEST(observe_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
