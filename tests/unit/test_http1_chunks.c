#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../../proxy/http1_chunks.c"

/* A row: the body, and the status it earns. */
struct row {
    const char *text;
    unsigned status;
};

/* Feeds a chunked body and says how it ended; *used counts over all pieces. */
static enum http1_status dechunk(struct bytes in, size_t piece, size_t cap, struct buf *out,
                                 size_t *used, unsigned *status) {
    struct arena *arena = arena_new(KIB(4));
    struct http1_chunks *c = http1_chunks_new(arena);
    enum http1_status result = HTTP1_MORE;
    const char *reason = NULL;
    buf_init(out, cap);
    *used = *status = 0;
    while (result == HTTP1_MORE && *used < in.len) {
        size_t n, left = in.len - *used;
        struct bytes next = bytes_of(in.at + *used, piece < left ? piece : left);
        result = http1_chunks_feed(c, next, &n, out, status, &reason);
        assert_true(result != HTTP1_MORE || n == next.len);
        *used += n;
    }
    assert_true((result == HTTP1_BAD) == (reason != NULL));
    arena_free(arena);
    return result;
}

static void test_chunks_give_their_payload(void **state) {
    struct bytes in = bytes_str("4;a=\"b c\"\r\nab\r\n\r\n00000000000000a\r\n0123456789\r\n"
                                "0;x\r\nX-Sum: \t1\xff\r\nY:\r\n\r\nGET");
    (void)state;
    for (size_t piece = 1; piece <= in.len; piece++) {
        struct buf out;
        size_t used;
        unsigned status;
        assert_int_equal(dechunk(in, piece, 14, &out, &used, &status), HTTP1_DONE);
        assert_int_equal(used, in.len - 3);
        assert_true(bytes_is(buf_bytes(&out), "ab\r\n0123456789"));
        buf_free(&out);
        assert_int_equal(dechunk(in, piece, 13, &out, &used, &status), HTTP1_BAD);
        assert_int_equal(status, 413);
        assert_true(bytes_is(buf_bytes(&out), "ab\r\n"));
        buf_free(&out);
    }
}

static void test_chunks_refuse(void **state) {
    static const struct row rows[] = {
        {"ffffffffffffffff\r\n", 413},
        {"fffffffffffffffff\r\n", 400},
        {"00000000000000000\r\n", 400},
        {"1\rx", 400},
        {"\n", 400},
        {"1\r\nab", 400},
        {"1\r\na\n", 400},
        {"1\r\na\rx", 400},
        {"1;\x7f", 400},
        {"1;\x80", 400},
        {"1 ;x\r\n", 400},
        {"0\r\n\n", 400},
        {"0\r\n\rx", 400},
        {"0\r\nX: y\n", 400},
        {"0\r\nX: y\rz", 400},
        {"0\r\nX: \x01", 400},
        {"0\r\n: y", 400},
        {"0\r\n X: y", 400},
        {"0\r\nX: y\r\n z", 400},
        {"0\r\nX_Y: z", 400},
        {"0\r\nX : y", 400},
        {"0\r\nhost: y", 400},
        {"0\r\nTransfer-Encoding: chunked", 400},
        {"0\r\ninference-header-content-length: 3", 400},
        {"0\r\nauthorization: x", 400},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (size_t piece = 1; piece <= strlen(rows[i].text); piece++) {
            struct buf out;
            size_t used;
            unsigned status;
            if (dechunk(bytes_str(rows[i].text), piece, 100, &out, &used, &status) != HTTP1_BAD)
                fail_msg("accepted: %s", rows[i].text);
            assert_int_equal(status, rows[i].status);
            buf_free(&out);
        }
}

static void test_chunks_keep_their_verdict(void **state) {
    struct arena *arena = arena_new(KIB(4));
    struct http1_chunks *c = http1_chunks_new(arena);
    struct buf out;
    size_t used;
    unsigned status = 0;
    const char *reason = NULL;
    (void)state;
    buf_init(&out, 10);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(http1_chunks_feed(c, bytes_str("x"), &used, &out, &status, &reason),
                         HTTP1_BAD);
        assert_int_equal(status, 400);
        status = 0;
    }
    c = http1_chunks_new(arena);
    assert_int_equal(http1_chunks_feed(c, bytes_str("0\r\n\r\n"), &used, &out, &status, &reason),
                     HTTP1_DONE);
    assert_int_equal(http1_chunks_feed(c, bytes_str("5"), &used, &out, &status, &reason),
                     HTTP1_DONE);
    assert_int_equal(used, 0);
    buf_free(&out);
    arena_free(arena);
}

static void test_no_memory_for_chunks(void **state) {
    struct arena *arena = arena_new(1);
    (void)state;
    assert_null(http1_chunks_new(arena));
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks_give_their_payload),
        cmocka_unit_test(test_chunks_refuse),
        cmocka_unit_test(test_chunks_keep_their_verdict),
        cmocka_unit_test(test_no_memory_for_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
