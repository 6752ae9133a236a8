#include "../../filters/embedding.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "noise_harness.h"

static const double question[] = {1, 2, 3};

static struct verdict answer(const struct conf *conf, struct bench *b, struct output *o) {
    struct predictions p = {.outputs = o, .count = 1};
    b->call.conf = conf;
    return on_answer(&b->call, &p);
}

static void fill(double *x, int n, uint64_t seed) {
    for (int i = 0; i < n; i++)
        x[i] = (double)(int64_t)(splitmix(&seed) % 2000) / 1000 - 1;
}

static double dot(const double *a, const double *b, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void promises_need_a_norm(void **unused) {
    (void)unused;
    struct conf conf = {.noise = {.epsilon = 1}};
    struct conf_error error = {NULL, ""};
    assert_false(check(&conf, &error));
    assert_non_null(strstr(error.text, "norm"));
    conf.norm = 1;
    assert_true(check(&conf, &error));
}

static void shortened_bounded_on_the_grid(void **unused) {
    (void)unused;
    static const double rows[] = {3, 4, 9, 9, 0.3, 0.4, 9, 9};
    static const double expected[] = {0.625, 0.75, 0.25, 0.375}; /* 0.6, 0.8 and 0.3, 0.4 */
    struct conf conf = {.noise = {.grid = 3, .sticky = {.on = true}}, .dims = 2, .norm = 1};
    struct bench b;
    bench_open(&b, &conf);
    struct output o = bench_output(OUT_EMBEDDING, DTYPE_FP32, 2, 4, rows, b.arena);
    assert_int_equal(answer(&conf, &b, &o).kind, VERDICT_PASS);
    assert_int_equal(o.cols, 2);
    assert_memory_equal(o.values, expected, sizeof(expected));
    bench_close(&b);
}

static void a_norm_is_kept_to(void **unused) {
    (void)unused;
    double x[7], big[2] = {1e300, 1e300}, zero[2] = {0, 0};
    fill(x, 7, 4);
    limit_norm(x, 7, 0.5);
    assert_true(fabs(sqrt(dot(x, x, 7)) - 0.5) < 1e-12);
    limit_norm(x, 7, 0.6);
    assert_true(fabs(sqrt(dot(x, x, 7)) - 0.5) < 1e-12);
    limit_norm(big, 2, 1);
    assert_true(fabs(big[0] - sqrt(0.5)) < 1e-12);
    limit_norm(zero, 2, 1);
    assert_true(zero[0] == 0);
}

static struct rotation rotation_for(struct bench *b, uint32_t dims, const char *who) {
    struct rotation r;
    struct output o = {.tensor = {.name = BYTES_LITERAL("out")}};
    assert_true(rotation_begin(&r, &b->call, &o, dims, bytes_str(who)));
    return r;
}

/* R is linear by its making; that it keeps the unit vectors orthonormal makes it orthogonal. */
static void rotations_are_orthogonal(void **unused) {
    (void)unused;
    static const uint32_t sizes[] = {1, 2, 3, 5, 8, 31, 64, 100};
    struct bench b;
    bench_open(&b, NULL);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        uint32_t d = sizes[s];
        static double images[100][100];
        struct rotation r = rotation_for(&b, d, "alice");
        memset(images, 0, sizeof(images));
        for (uint32_t i = 0; i < d; i++) {
            images[i][i] = 1;
            rotate(&r, images[i]);
        }
        for (uint32_t i = 0; i < d; i++)
            for (uint32_t k = 0; k < d; k++)
                assert_true(fabs(dot(images[i], images[k], (int)d) - (i == k)) < 1e-12);
    }
    bench_close(&b);
}

/* No number stays mostly where it was: the greatest entry of the matrix is small. */
static void rotations_mix(void **unused) {
    (void)unused;
    struct bench b;
    bench_open(&b, NULL);
    for (uint32_t d = 64; d <= 100; d += 36) {
        struct rotation r = rotation_for(&b, d, "alice");
        for (uint32_t i = 0; i < d; i++) {
            double x[100] = {0};
            x[i] = 1;
            rotate(&r, x);
            for (uint32_t k = 0; k < d; k++)
                assert_true(fabs(x[k]) < 0.6);
        }
    }
    bench_close(&b);
}

static const double *released(const struct conf *conf, struct bench *b, const char *client,
                              const double *x, uint32_t cols) {
    b->client.key = bytes_str(client);
    b->query.input_count = 0;
    bench_input(b, "x", question, 1, 3);
    struct output o = bench_output(OUT_EMBEDDING, DTYPE_FP64, 1, cols, x, b->arena);
    assert_int_equal(answer(conf, b, &o).kind, VERDICT_PASS);
    return o.values;
}

static void tenants_cannot_be_joined(void **unused) {
    (void)unused;
    enum { D = 96 };
    double x[D], y[D];
    struct conf conf = {.noise = {.grid = 15, .sticky = {.on = true}}, .rotate = ROTATE_CLIENT};
    struct bench b, other;
    fill(x, D, 1);
    fill(y, D, 2);
    bench_open(&b, &conf);
    bench_open(&other, &conf);
    const double *xa = released(&conf, &b, "alice", x, D), *ya = released(&conf, &b, "alice", y, D);
    const double *xb = released(&conf, &b, "bob", x, D);
    assert_true(fabs(dot(xa, ya, D) - dot(x, y, D)) < 0.05); /* within one: kept, to the grid */
    assert_true(fabs(dot(xa, xb, D)) < 0.5 * dot(x, x, D));  /* between two: 5 deviations */
    assert_true(fabs(dot(xa, x, D)) < 0.5 * dot(x, x, D));
    assert_memory_equal(released(&conf, &other, "alice", x, D), xa, sizeof(x));
    conf.rotate = ROTATE_TIER; /* both have none */
    assert_memory_equal(released(&conf, &b, "alice", x, D), released(&conf, &b, "bob", x, D),
                        sizeof(x));
    bench_close(&b);
    bench_close(&other);
}

/* With noise too: one question's noise must not be the same behind two rotations. */
static void noise_belongs_to_the_tenant(void **unused) {
    (void)unused;
    double zero[8] = {0};
    struct conf conf = {.noise = {.scale = 1, .grid = 8, .sticky = {.on = true}},
                        .rotate = ROTATE_CLIENT};
    struct bench b;
    bench_open(&b, &conf);
    const double *a = released(&conf, &b, "alice", zero, 8);
    assert_memory_equal(released(&conf, &b, "alice", zero, 8), a, sizeof(zero));
    assert_memory_not_equal(released(&conf, &b, "bob", zero, 8), a, sizeof(zero));
    conf.rotate = ROTATE_OFF;
    a = released(&conf, &b, "alice", zero, 8);
    assert_memory_equal(released(&conf, &b, "bob", zero, 8), a, sizeof(zero));
    bench_close(&b);
}

/* Whatever is sent, rows end no further apart than the noise is made for. */
static void sensitivity_holds(void **unused) {
    (void)unused;
    enum { D = 12 };
    struct conf conf = {.noise = {.epsilon = 1, .grid = 2}, .norm = 1.5};
    struct sensitivity s = sensitivity_of(&conf, D);
    for (uint64_t i = 0; i < 3000; i++) {
        double x[2][D];
        int64_t units[2][D], l1 = 0, l2 = 0;
        for (uint64_t r = 0; r < 2; r++) {
            fill(x[r], D, 2 * i + r);
            for (int k = 0; k < D; k++)
                x[r][k] = r == 1 && i % 2 ? -x[0][k] : x[r][k] * 10;
            limit_norm(x[r], D, conf.norm);
            assert_true(additive_units(x[r], D, 2, units[r]));
        }
        for (int k = 0; k < D; k++) {
            int64_t gap = llabs(units[0][k] - units[1][k]);
            l1 += gap;
            l2 += gap * gap;
        }
        assert_true((wide)l1 <= s.l1 && (wide)l2 <= s.l2_squared);
    }
}

static void what_is_refused_and_left_alone(void **unused) {
    (void)unused;
    static const double bad[][2] = {{NAN, 0}, {0, INFINITY}, {1e300, 0}};
    static const double good[] = {0.5, 0.5};
    struct conf conf = {.noise = {.grid = 8, .sticky = {.on = true}}};
    struct bench b;
    bench_open(&b, &conf);
    for (int i = 0; i < 3; i++) {
        struct output o = bench_output(OUT_EMBEDDING, DTYPE_FP64, 1, 2, bad[i], b.arena);
        assert_int_equal(answer(&conf, &b, &o).kind, VERDICT_FAULT);
    }
    for (int kind = OUT_SCORES; kind <= OUT_OPAQUE; kind++) {
        struct output o = bench_output((enum output_kind)kind, DTYPE_FP64, 1, 2, good, b.arena);
        assert_int_equal(answer(&conf, &b, &o).kind, VERDICT_PASS);
        assert_int_equal(o.changed, kind == OUT_EMBEDDING);
    }
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promises_need_a_norm),
        cmocka_unit_test(shortened_bounded_on_the_grid),
        cmocka_unit_test(a_norm_is_kept_to),
        cmocka_unit_test(rotations_are_orthogonal),
        cmocka_unit_test(rotations_mix),
        cmocka_unit_test(tenants_cannot_be_joined),
        cmocka_unit_test(noise_belongs_to_the_tenant),
        cmocka_unit_test(sensitivity_holds),
        cmocka_unit_test(what_is_refused_and_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
