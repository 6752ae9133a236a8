/* Replies are read the same however they are cut; what is not RESP2, or over the limits, breaks the
 * connection before memory is taken for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../../proxy/redis_resp.c"

static const struct resp_limits flat = {.depth = 1, .items = 5, .bytes = 64};
static const struct resp_limits deep = {.depth = 3, .items = 9, .bytes = 64};

/* What a reader makes of data fed `step` bytes at a time, as text; "..." when it wants more, "!"
 * when it gives up. */
static const char *read_all(const char *data, size_t len, size_t step,
                            const struct resp_limits *limits) {
    static char text[4096];
    struct resp *r = resp_new();
    size_t n = 0;
    enum resp_status s = RESP_MORE;
    text[0] = '\0';
    for (size_t at = 0; at < len && s != RESP_BROKEN; at += step) {
        struct redis_reply reply;
        assert_true(resp_feed(r, bytes_of(data + at, step < len - at ? step : len - at)));
        while ((s = resp_next(r, limits, &reply)) == RESP_REPLY || s == RESP_ERROR) {
            n += (size_t)sprintf(text + n, "%s%s", s == RESP_ERROR ? "-" : "",
                                 reply.array ? "[" : "");
            for (uint32_t i = 0; i < reply.count; i++) {
                const struct redis_value *v = &reply.values[i];
                if (v->type == REDIS_TEXT)
                    n += (size_t)sprintf(text + n, "'%.*s' ", (int)v->text.len,
                                         v->text.len > 0 ? v->text.at : "");
                else
                    n += (size_t)sprintf(text + n, v->type == REDIS_NIL ? "nil " : "%s%lld ",
                                         v->type == REDIS_ARRAY ? "*" : "", (long long)v->integer);
            }
            n += (size_t)sprintf(text + n, "%s|", reply.array ? "]" : "");
        }
    }
    sprintf(text + n, "%s", s == RESP_BROKEN ? "!" : "");
    resp_free(r);
    return text;
}

#define X16 "xxxxxxxxxxxxxxxx"

static const struct {
    const char *data, *flat, *deep; /* deep NULL: the same */
} cases[] = {
    {"+OK\r\n", "'OK' |", NULL},
    {"-ERR no\r\n", "-'ERR no' |", NULL},
    {":42\r\n", "42 |", NULL},
    {":-1\r\n", "-1 |", NULL},
    {":9223372036854775807\r\n", "9223372036854775807 |", NULL},
    {":9223372036854775808\r\n", "!", NULL},
    {"$3\r\nabc\r\n", "'abc' |", NULL},
    {"$0\r\n\r\n", "'' |", NULL},
    {"$-1\r\n", "nil |", NULL},
    {"*-1\r\n", "nil |", NULL},
    {"*0\r\n", "[]|", NULL},
    {"*3\r\n:1\r\n$1\r\na\r\n$-1\r\n", "[1 'a' nil ]|", NULL},
    {"*2\r\n+x\r\n+y\r\n:3\r\n", "['x' 'y' ]|3 |", NULL},
    {"+a\r\n+b\r\n+c\r\n", "'a' |'b' |'c' |", NULL},
    /* Limits: depth, values, bytes. */
    {"*1\r\n*1\r\n:1\r\n", "!", "[*1 1 ]|"},
    {"*1\r\n*1\r\n*1\r\n:1\r\n", "!", "[*1 *1 1 ]|"},
    {"*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "!", NULL},
    {"*4\r\n:1\r\n:1\r\n:1\r\n:1\r\n", "[1 1 1 1 ]|", NULL},
    {"*5\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n", "!", "[1 1 1 1 1 ]|"},
    {"*2147483647\r\n", "!", NULL},
    {"*9999999999\r\n", "!", NULL},
    {"$64\r\n" X16 X16 X16 X16 "\r\n", "'" X16 X16 X16 X16 "' |", NULL},
    {"+" X16 X16 X16 X16 "\r\n", "'" X16 X16 X16 X16 "' |", NULL},
    {"+" X16 X16 X16 X16 "x\r\n", "!", NULL},
    {"$65\r\n", "!", NULL},
    {"$1073741824\r\n", "!", NULL},
    {"$1073741824", "!", NULL},
    {"$99999999999999999999", "!", NULL},
    {"*1\r\n$1073741824\r\n", "!", NULL},
    {"+" X16 X16 X16 X16 X16 X16 X16, "!", NULL},
    {":" X16 X16 X16 X16 X16 X16 X16, "!", NULL},
    {"*2\r\n$40\r\n" X16 X16 "12345678\r\n$40\r\n" X16 X16 "12345678\r\n", "!", NULL},
    /* Not RESP2. */
    {"hello\r\n", "!", NULL},
    {">2\r\n+a\r\n+b\r\n", "!", NULL},
    {"%1\r\n+a\r\n+b\r\n", "!", NULL},
    {"_\r\n", "!", NULL},
    {"*1\r\n-ERR within\r\n", "!", NULL},
    {"HTTP/1.1 400 Bad Request\r\n", "!", NULL},
};

static void reads_the_same_however_cut(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t len = strlen(cases[i].data);
        for (size_t step = 1; step <= len; step++) {
            const char *want_deep = cases[i].deep != NULL ? cases[i].deep : cases[i].flat;
            if (strcmp(read_all(cases[i].data, len, step, &flat), cases[i].flat) != 0 ||
                strcmp(read_all(cases[i].data, len, step, &deep), want_deep) != 0)
                fail_msg("case %zu cut by %zu: flat %s deep %s", i, step,
                         read_all(cases[i].data, len, step, &flat),
                         read_all(cases[i].data, len, step, &deep));
        }
    }
}

static void gives_up_on_deep_nests_at_once(void **state) {
    enum { DEPTH = 100000 };
    char *data = malloc(4 * DEPTH);
    (void)state;
    for (size_t i = 0; i < DEPTH; i++)
        memcpy(data + 4 * i, "*1\r\n", 4);
    assert_string_equal(read_all(data, 4 * DEPTH, 4 * DEPTH, &flat), "!");
    assert_string_equal(read_all(data, 4 * DEPTH, 4 * DEPTH, &deep), "!");
    free(data);
}

static void texts_stay_where_replies_say(void **state) {
    struct resp *r = resp_new();
    struct redis_reply reply;
    (void)state;
    /* The second text makes the buffer of the first grow. */
    static const struct resp_limits wide = {.depth = 1, .items = 3, .bytes = 20000};
    char *data = malloc(20000);
    int n = sprintf(data, "*2\r\n$5\r\nfirst\r\n$10000\r\n");
    memset(data + n, 'y', 10000);
    memcpy(data + n + 10000, "\r\n", 2);
    assert_true(resp_feed(r, bytes_of(data, 30)));
    assert_int_equal(resp_next(r, &wide, &reply), RESP_MORE);
    assert_true(resp_feed(r, bytes_of(data + 30, (size_t)n + 10002 - 30)));
    assert_int_equal(resp_next(r, &wide, &reply), RESP_REPLY);
    assert_true(bytes_is(reply.values[0].text, "first"));
    assert_int_equal(reply.values[1].text.len, 10000);
    assert_int_equal(reply.values[1].text.at[9999], 'y');
    free(data);
    resp_free(r);
}

static void commands_are_binary_safe(void **state) {
    struct bytes argv[] = {BYTES_LITERAL("SET"), bytes_of("a\0\r\n", 4), bytes_of(NULL, 0)};
    size_t len = 0;
    (void)state;
    char *wire = resp_command(3, argv, &len);
    static const char want[] = "*3\r\n$3\r\nSET\r\n$4\r\na\0\r\n\r\n$0\r\n\r\n";
    assert_int_equal(len, sizeof(want) - 1);
    assert_memory_equal(wire, want, len);
    resp_command_free(wire);
}

static void commands_have_limits(void **state) {
    struct bytes argv[REDIS_ARGS_MAX + 1];
    size_t len = 0;
    char *big = calloc(1, REDIS_COMMAND_MAX + 1);
    (void)state;
    for (int i = 0; i <= REDIS_ARGS_MAX; i++)
        argv[i] = BYTES_LITERAL("x");
    assert_null(resp_command(0, argv, &len));
    assert_null(resp_command(REDIS_ARGS_MAX + 1, argv, &len));
    char *wire = resp_command(REDIS_ARGS_MAX, argv, &len);
    assert_non_null(wire);
    resp_command_free(wire);
    argv[1] = bytes_of(big, REDIS_COMMAND_MAX);
    assert_null(resp_command(2, argv, &len));
    argv[1].len--;
    wire = resp_command(2, argv, &len);
    assert_non_null(wire);
    resp_command_free(wire);
    free(big);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_same_however_cut),
        cmocka_unit_test(gives_up_on_deep_nests_at_once),
        cmocka_unit_test(texts_stay_where_replies_say),
        cmocka_unit_test(commands_are_binary_safe),
        cmocka_unit_test(commands_have_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
