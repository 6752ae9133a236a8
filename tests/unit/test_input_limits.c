#include "../../filters/input_limits.c"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "../../proxy/base/clock.h"

#define RANGES(...)                                                                                \
    { (struct input[]){__VA_ARGS__}, sizeof((struct input[]){__VA_ARGS__}) / sizeof(struct input) }
#define INPUT(name, low, high)                                                                     \
    { {(name), sizeof(name) - 1}, (low), (high) }

static void check_finds_what_is_wrong(void **unused) {
    (void)unused;
    const struct {
        struct conf conf;
        bool ok;
        const char *option;
    } table[] = {
        {{.rows = 1}, true, NULL},
        {{.elements = 1}, true, NULL},
        {{.bytes = 1}, true, NULL},
        {{.inputs = RANGES(INPUT("x", 0, 0))}, true, NULL},
        {{0}, false, NULL},
        {{.inputs = RANGES(INPUT("x", 0, 1), INPUT("y", 2, 1))}, false, "inputs"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct conf conf = table[i].conf;
        struct conf_error error = {.option = "unset"};
        assert_int_equal(check(&conf, &error), table[i].ok);
        if (table[i].ok)
            continue;
        assert_true((error.option == NULL) == (table[i].option == NULL));
        if (error.option != NULL)
            assert_string_equal(error.option, table[i].option);
    }
}

static struct verdict run(const struct conf *conf, const struct query *query) {
    struct filter_call call = {.conf = conf, .query = query};
    return on_query(&call);
}

static void sizes(void **unused) {
    (void)unused;
    static const struct {
        struct conf conf;
        uint32_t rows;
        uint64_t elements;
        size_t bytes[2];
        uint16_t status;
    } table[] = {
        {{.rows = 8}, 8, 100, {4, 0}, 0},
        {{.rows = 8}, 9, 100, {4, 0}, 413},
        {{.rows = 8}, UINT32_MAX, 100, {4, 0}, 413},
        {{.elements = 784}, 1, 784, {4, 0}, 0},
        {{.elements = 784}, 1, 785, {4, 0}, 413},
        {{.bytes = 64}, 1, 1, {60, 4}, 0},
        {{.bytes = 64}, 1, 1, {60, 5}, 413},
        {{.rows = 8, .elements = 8, .bytes = 8}, 8, 8, {4, 4}, 0},
        {{.rows = 8, .elements = 8, .bytes = 8}, 8, 8, {4, 5}, 413},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct tensor inputs[2] = {{.name = BYTES_LITERAL("x"), .data = {"", table[i].bytes[0]}},
                                   {.name = BYTES_LITERAL("y"), .data = {"", table[i].bytes[1]}}};
        struct query q = {.inputs = inputs,
                          .input_count = 2,
                          .rows = table[i].rows,
                          .elements = table[i].elements};
        struct verdict v = run(&table[i].conf, &q);
        assert_int_equal(v.status, table[i].status);
        assert_int_equal(v.kind, table[i].status == 0 ? VERDICT_PASS : VERDICT_DENY);
    }
}

static struct tensor tensor(enum dtype type, const double *values, uint32_t count, char *data) {
    for (uint32_t i = 0; i < count; i++)
        dtype_write(type, values[i], data + i * dtype_size(type));
    return (struct tensor){.name = BYTES_LITERAL("x"),
                           .dtype = type,
                           .elements = count,
                           .data = bytes_of(data, count * dtype_size(type))};
}

static void ranges_hold_for_every_datatype(void **unused) {
    (void)unused;
    static const struct {
        double low, high, values[3];
        bool ok, is_float;
    } table[] = {
        {0, 16, {0, 7, 16}, true, false},
        {0, 16, {0, 7, 17}, false, false},
        {1, 16, {0, 7, 16}, false, false},
        {0, 0, {0, 0, 0}, true, false},
        {0, 16, {-1, 7, 16}, false, true},
        {-1, 1, {-1, -0.0, 1}, true, true},
        {0, 16, {0, NAN, 16}, false, true},
        {0, 16, {NAN, 0, 16}, false, true},
        {0, 16, {0, 1, INFINITY}, false, true},
        {-1e300, 1e300, {-INFINITY, 1, 2}, false, true},
        {0, 16, {0, 1, 16.0625}, false, true},
        {0.1, 0.3, {0.1, 0.3, 0.2}, true, true}, /* as the datatype holds them */
        {1e300, 1e300, {INFINITY, INFINITY, INFINITY}, false, true},
    };
    for (int type = DTYPE_UINT8; type <= DTYPE_FP64; type++)
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
            char data[1 + 3 * 8]; /* one byte off: tensors are unaligned */
            if (table[i].is_float && (type < DTYPE_FP16 || (type == DTYPE_BF16 && i == 10)))
                continue;
            struct tensor t = tensor((enum dtype)type, table[i].values, 3, data + 1);
            struct conf conf = {.inputs = RANGES({t.name, table[i].low, table[i].high})};
            struct query q = {.inputs = &t, .input_count = 1, .rows = 1, .elements = 3};
            struct verdict v = run(&conf, &q);
            if (v.kind != (table[i].ok ? VERDICT_PASS : VERDICT_DENY) ||
                v.status != (table[i].ok ? 0 : 400))
                fail_msg("%s row %zu", dtype_name((enum dtype)type), i);
        }
}

static void inputs_are_matched_by_name(void **unused) {
    (void)unused;
    static const double bad[] = {99};
    static const char text[] = "\1\0\0\0"
                               "5";
    char data[8];
    struct conf conf = {.inputs = RANGES(INPUT("a", 0, 100), INPUT("x", 0, 1))};
    struct tensor t = tensor(DTYPE_FP32, bad, 1, data);
    struct query q = {.inputs = &t, .input_count = 1, .rows = 1, .elements = 1};
    assert_int_equal(run(&conf, &q).status, 400);
    t.name = BYTES_LITERAL("a");
    assert_int_equal(run(&conf, &q).kind, VERDICT_PASS);
    t.name = BYTES_LITERAL("xx"); /* no row: not looked at */
    assert_int_equal(run(&conf, &q).kind, VERDICT_PASS);
    struct tensor strings = {
        .name = BYTES_LITERAL("x"), .dtype = DTYPE_BYTES, .elements = 1, .data = bytes_of(text, 5)};
    q.inputs = &strings; /* text has no range: refused, not passed */
    assert_int_equal(run(&conf, &q).status, 400);
    strings.elements = 0;
    assert_int_equal(run(&conf, &q).kind, VERDICT_PASS);
}

static void the_last_of_many_counts(void **unused) {
    (void)unused;
    static float image[150528];
    struct tensor t = {.name = BYTES_LITERAL("x"),
                       .dtype = DTYPE_FP32,
                       .elements = 150528,
                       .data = bytes_of(image, sizeof(image))};
    struct conf conf = {.inputs = RANGES(INPUT("x", 0, 1))};
    struct query q = {.inputs = &t, .input_count = 1, .rows = 1, .elements = 150528};
    uint64_t start = clock_ns();
    assert_int_equal(run(&conf, &q).kind, VERDICT_PASS);
    print_message("150528 floats: %.0f us\n", (double)(clock_ns() - start) / 1e3);
    image[150527] = 1.5f;
    assert_int_equal(run(&conf, &q).status, 400);
}

/* Whatever the length, so also in the last incomplete four, and however the bytes lie. */
static void every_float_counts(void **unused) {
    (void)unused;
    char room[4 * 40 + 3];
    struct tensor none = {.name = BYTES_LITERAL("x"), .dtype = DTYPE_FP32};
    struct conf nowhere = {.inputs = RANGES(INPUT("x", 1e300, 1e300))};
    struct query empty = {.inputs = &none, .input_count = 1, .rows = 1};
    assert_int_equal(run(&nowhere, &empty).kind, VERDICT_PASS);
    for (uint32_t count = 1; count <= 40; count++)
        for (uint32_t bad = 0; bad <= count; bad++) {
            double values[40] = {0};
            if (bad < count)
                values[bad] = bad % 2 == 0 ? 1.0001 : -1.0001;
            struct tensor t = tensor(DTYPE_FP32, values, count, room + count % 4);
            struct conf conf = {.inputs = RANGES(INPUT("x", -1, 1))};
            struct query q = {.inputs = &t, .input_count = 1, .rows = 1, .elements = count};
            assert_int_equal(run(&conf, &q).kind, bad == count ? VERDICT_PASS : VERDICT_DENY);
        }
}

static void explain_says(void **unused) {
    (void)unused;
    struct conf conf = {
        .rows = 8, .elements = 784, .bytes = 4096, .inputs = RANGES(INPUT("x", -1, 1))};
    static const char *const has[] = {"8 rows", "784 elements", "4096 bytes",
                                      "every element of x is within [-1, 1]"};
    struct buf out;
    buf_init(&out, KIB(4));
    explain(&conf, &out);
    buf_add_char(&out, '\0');
    for (size_t i = 0; i < sizeof(has) / sizeof(has[0]); i++)
        assert_non_null(strstr(out.at, has[i]));
    buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_finds_what_is_wrong),
        cmocka_unit_test(sizes),
        cmocka_unit_test(ranges_hold_for_every_datatype),
        cmocka_unit_test(inputs_are_matched_by_name),
        cmocka_unit_test(every_float_counts),
        cmocka_unit_test(the_last_of_many_counts),
        cmocka_unit_test(explain_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
