/* Deadlines fire once, in their tick, never early; also those more than one turn of the wheel away.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../../proxy/base/clock.h"

/* The wheel runs on a clock of the test's own. */
static uint64_t fake_now;
#define clock_us() fake_now
#include "../../proxy/timers.c"
#undef clock_us

static struct event_base *base;
static struct timers wheel;

struct probe {
    struct timer timer;
    unsigned fired;
    uint64_t at;
};

static void on_fire(struct timer *t) {
    struct probe *p = list_object(t, struct probe, timer);
    p->fired++;
    p->at = fake_now;
}

static int open_wheel(void **state) {
    (void)state;
    fake_now = 5000000;
    base = event_base_new();
    return timers_open(&wheel, base) ? 0 : -1;
}

static int close_wheel(void **state) {
    (void)state;
    timers_close(&wheel);
    event_base_free(base);
    return 0;
}

/* Lets time pass in steps of a third of a tick. */
static void pass(uint64_t us) {
    for (uint64_t end = fake_now + us; fake_now < end;) {
        fake_now += TIMER_TICK_US / 3;
        on_time(-1, 0, &wheel);
    }
}

static void fires_once_and_never_early(void **state) {
    static const uint64_t after[] = {0,      1,       9999,     10000,    10001,
                                     123456, 5000000, 10239999, 10240000, 60000000};
    (void)state;
    for (size_t i = 0; i < sizeof(after) / sizeof(after[0]); i++) {
        struct probe p = {.fired = 0};
        uint64_t began = fake_now;
        timer_init(&p.timer, on_fire);
        timer_set(&wheel, &p.timer, fake_now, after[i]);
        pass(after[i] + 3 * TIMER_TICK_US);
        assert_int_equal(p.fired, 1);
        assert_true(p.at >= began + after[i]);
        assert_true(p.at <= began + after[i] + 2 * TIMER_TICK_US);
        pass(11000000);
        assert_int_equal(p.fired, 1);
    }
}

static void a_stopped_timer_is_silent(void **state) {
    struct probe p = {.fired = 0};
    (void)state;
    timer_init(&p.timer, on_fire);
    timer_stop(&p.timer);
    timer_set(&wheel, &p.timer, fake_now, 50000);
    assert_true(timer_is_set(&p.timer));
    timer_stop(&p.timer);
    assert_false(timer_is_set(&p.timer));
    pass(200000);
    assert_int_equal(p.fired, 0);
}

static void setting_again_moves_it(void **state) {
    struct probe p = {.fired = 0};
    (void)state;
    timer_init(&p.timer, on_fire);
    for (int i = 0; i < 20; i++) {
        timer_set(&wheel, &p.timer, fake_now, 100000);
        pass(50000);
        assert_int_equal(p.fired, 0);
    }
    pass(100000);
    assert_int_equal(p.fired, 1);
    timer_set(&wheel, &p.timer, fake_now, 9000000);
    timer_set(&wheel, &p.timer, fake_now, 20000); /* Earlier than what is armed. */
    pass(50000);
    assert_int_equal(p.fired, 2);
}

static struct probe again;
static void on_fire_again(struct timer *t) {
    on_fire(t);
    if (again.fired < 5)
        timer_set(&wheel, t, fake_now, 0);
}

static void may_set_itself_again(void **state) {
    (void)state;
    again = (struct probe){.fired = 0};
    timer_init(&again.timer, on_fire_again);
    timer_set(&wheel, &again.timer, fake_now, 0);
    pass(1000000);
    assert_int_equal(again.fired, 5);
}

static void a_late_loop_runs_all_that_is_due(void **state) {
    struct probe p[200];
    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        p[i].fired = 0;
        timer_init(&p[i].timer, on_fire);
        timer_set(&wheel, &p[i].timer, fake_now, (uint64_t)i * 7919);
    }
    fake_now += 3000000; /* The thread did not run for three seconds. */
    on_time(-1, 0, &wheel);
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(p[i].fired, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fires_once_and_never_early, open_wheel, close_wheel),
        cmocka_unit_test_setup_teardown(a_stopped_timer_is_silent, open_wheel, close_wheel),
        cmocka_unit_test_setup_teardown(setting_again_moves_it, open_wheel, close_wheel),
        cmocka_unit_test_setup_teardown(may_set_itself_again, open_wheel, close_wheel),
        cmocka_unit_test_setup_teardown(a_late_loop_runs_all_that_is_due, open_wheel, close_wheel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
