#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "../../proxy/http1_path.c"

static void test_path_is_decoded_once(void **state) {
    static const struct {
        const char *target, *path, *query; /* path NULL: refused */
    } rows[] = {
        {"/", "/", ""},
        {"/v2/health/", "/v2/health/", ""},
        {"/v2/models/%6D%3ax:predict", "/v2/models/m:x:predict", ""},
        {"/a?x=1&y=%2f..//#", NULL, NULL},
        {"/a?x=1&y=%2F..//?", "/a", "x=1&y=%2F..//?"},
        {"/a?", "/a", ""},
        {"/a?%", NULL, NULL},
        {"/a?%4", NULL, NULL},
        {"/a?x[]=1", NULL, NULL},
        {"/...", "/...", ""},
        {"/.a/b.", "/.a/b.", ""},
        {"/~a!$&'()*+,;=:@-._", "/~a!$&'()*+,;=:@-._", ""},
        {"/.", NULL, NULL},
        {"/a/.", NULL, NULL},
        {"/a/..", NULL, NULL},
        {"/../a", NULL, NULL},
        {"/%2e/a", NULL, NULL},
        {"/a/.%2E", NULL, NULL},
        {"//", NULL, NULL},
        {"/a//", NULL, NULL},
        {"/a%2Fb", NULL, NULL},
        {"/a%5cb", NULL, NULL},
        {"/a\\b", NULL, NULL},
        {"/a%00", NULL, NULL},
        {"/a%0d%0a", NULL, NULL},
        {"/a%20b", NULL, NULL},
        {"/a%7f", NULL, NULL},
        {"/a%25%32%65", NULL, NULL},
        {"/a%3fb", NULL, NULL},
        {"/a%23b", NULL, NULL},
        {"/a%c3%a9", NULL, NULL},
        {"/a%", NULL, NULL},
        {"/a%4", NULL, NULL},
        {"/a%4g", NULL, NULL},
        {"/{a}", NULL, NULL},
        {"/a\"", NULL, NULL},
        {"a", NULL, NULL},
        {"*", NULL, NULL},
        {"?/a", NULL, NULL},
        {"%2fa", NULL, NULL},
        {"https://h/a", NULL, NULL},
    };
    struct arena *arena = arena_new(KIB(64));
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct http1_head head;
        memset(&head, 0, sizeof(head));
        enum http1_status status = http1_target(arena, bytes_str(rows[i].target), &head);
        if ((status == HTTP1_DONE) != (rows[i].path != NULL))
            fail_msg("%s: %s", rows[i].target, status == HTTP1_DONE ? "accepted" : head.reason);
        if (status == HTTP1_BAD) {
            assert_int_equal(head.status, 400);
            continue;
        }
        assert_true(bytes_is(head.message.path, rows[i].path));
        assert_true(bytes_is(head.query, rows[i].query));
    }
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_path_is_decoded_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
