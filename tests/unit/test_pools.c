#include "../../proxy/base/pools.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct pool_id id_of(uint64_t n) {
    return (struct pool_id){{n, 2 * n, 3 * n}};
}

static void test_each_id_has_its_pool(void **unused) {
    (void)unused;
    struct pools pools = {.clock = 0};
    for (uint64_t n = 0; n < POOLS_MAX; n++) {
        struct pool_id id = id_of(n);
        struct pool *p = pools_get(&pools, &id);
        assert_non_null(p);
        assert_int_equal(p->count, 0);
        p->samples[p->count++] = (int64_t)n;
    }
    for (uint64_t n = 0; n < POOLS_MAX; n++) {
        struct pool_id id = id_of(n);
        struct pool *p = pools_get(&pools, &id);
        assert_int_equal(p->count, 1);
        assert_int_equal(p->samples[0], n);
    }
    pools_free(&pools);
}

/* A pool that changes hands must not keep the samples of another distribution. */
static void test_the_longest_unused_makes_room(void **unused) {
    (void)unused;
    struct pools pools = {.clock = 0};
    for (uint64_t n = 0; n < POOLS_MAX; n++) {
        struct pool_id id = id_of(n);
        pools_get(&pools, &id)->count = 7;
    }
    struct pool_id first = id_of(0), second = id_of(1), more = id_of(POOLS_MAX);
    assert_int_equal(pools_get(&pools, &first)->count, 7);
    assert_int_equal(pools_get(&pools, &more)->count, 0); /* in place of the second */
    assert_int_equal(pools_get(&pools, &first)->count, 7);
    assert_int_equal(pools_get(&pools, &second)->count, 0);
    pools_free(&pools);
    pools_free(&pools);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_id_has_its_pool),
        cmocka_unit_test(test_the_longest_unused_makes_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
