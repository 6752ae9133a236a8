#include "../../proxy/http1_head.c"

#include "http1_corpus.h"
#include "http1_play.h"

static enum http1_status parse(struct arena *arena, const char *text, struct http1_head *head) {
    memset(head, 0xa5, sizeof(*head)); /* nothing of it may be left */
    return http1_request_head(arena, bytes_str(text), BODY_BYTES_MAX, head);
}

static void test_requests_beyond_the_corpus(void **state) {
    static const struct row rows[] = {
        {"PUT /p HTTP/1.1\r\nHost: a\r\n\r\n", 405},
        {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 405},
        {"FROBNICATE /p HTTP/1.1\r\nHost: a\r\n\r\n", 405},
        {"get /p HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /p HTTP/1.0\r\nHost: a\r\n\r\n", 200},
        {"GET /p HTTP/1.0\r\n\r\n", 400},
        {"GET /p HTTP/1.x\r\nHost: a\r\n\r\n", 400},
        {"GET /p HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
        {"GET /p HTTP/0.9\r\nHost: a\r\n\r\n", 505},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 405},
        {"\r\n\r\n\r\nGET /p HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"\rGET /p HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {" GET /p HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"HEAD /p HTTP/1.1\r\nHost: a\r\n\r\n", 200},
        {"GET /p HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", 400},
        {"GET /p HTTP/1.1\r\nHost: a\r\nX:\tb\tc\xff \t\r\n\r\n", 200},
        {"GET /p HTTP/1.1\r\nHost: a\r\n\tX: b\r\n\r\n", 400},
        {"GET /p HTTP/1.1\r\nHost: a\r\nX:\r\nY: \r\n\r\n", 200},
        {WITH(""), 200},
        {WITH("Content-Length: 0\r\n"), 200},
        {WITH("Content-Length: 007\r\n") "1234567", 200},
        {WITH("Content-Length: 8388608\r\n"), 0},
        {WITH("Content-Length: 8388609\r\n"), 413},
        {WITH("Content-Length: 18446744073709551615\r\n"), 413},
        {WITH("content-length: 2\r\nCONTENT-LENGTH: 2\r\n") "{}", 400},
        {WITH("TRANSFER-encoding: ChunKed\r\n") "0\r\n\r\n", 200},
        {WITH("Transfer-Encoding: chunked;q=1\r\n") "0\r\n\r\n", 400},
        {WITH("Transfer-Encoding:\r\n") "0\r\n\r\n", 400},
        {WITH("Transfer-Encoding: chunked,\r\n") "0\r\n\r\n", 400},
        {WITH("Transfer-Encoding: gzip, chunked, br\r\n") "0\r\n\r\n", 400},
        {WITH("Transfer-Encoding: gzip, br\r\n") "0\r\n\r\n", 501},
        {WITH("Expect: 100-Continue\r\nContent-Length: 1\r\n") "x", 200},
        {WITH("Expect: 100-continue, x\r\n"), 417},
        {WITH("Connection: keep-alive, TE\r\nTE: trailers\r\n"), 200},
        {WITH("Connection: , close ,\r\n"), 200},
        {WITH("Connection: content-length\r\n"), 400},
        {WITH("Connection: Transfer-Encoding\r\n"), 400},
        {WITH("Connection: close\r\nConnection: x-api-key\r\n"), 400},
        {WITH("Connection: a b\r\n"), 400},
    };
    (void)state;
    assert_requests(rows);
}

static void test_host_is_a_host(void **state) {
    static const struct row rows[] = {
        {"example.com", 200},
        {"model_server:8000", 200},
        {"10.0.0.1:80", 200},
        {"[::1]", 200},
        {"[::1]:65535", 200},
        {"[::ffff:1.2.3.4]:1", 200},
        {"", 400},
        {":80", 400},
        {"a:", 400},
        {"a:65536", 400},
        {"a:80:90", 400},
        {"a:-1", 400},
        {"u@a", 400},
        {"a b", 400},
        {"a?b", 400},
        {"[::1", 400},
        {"[::1]x", 400},
        {"[g::]", 400},
        {"[]", 400},
        {"a[::1]", 400},
        {"a\xc3\xa9", 400},
        {"a%41", 400},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[128];
        snprintf(text, sizeof(text), "GET /p HTTP/1.1\r\nHost: %s\r\n\r\n", rows[i].text);
        const struct row row = {text, rows[i].status};
        assert_rows(true, "", &row, 1);
    }
}

static void test_head_says_what_was_sent(void **state) {
    struct http1_head head;
    struct arena *arena = arena_new(KIB(4));
    (void)state;
    assert_int_equal(parse(arena,
                           "POST /v2/%6d?q HTTP/1.1\r\nHost: a:1\r\nExpect: 100-continue\r\n"
                           "Content-Length: 5\r\nX-A: \t b c \r\nx-a:\r\n\r\n",
                           &head),
                     HTTP1_DONE);
    assert_true(bytes_is(head.message.method, "POST"));
    assert_true(bytes_is(head.message.path, "/v2/m"));
    assert_true(bytes_is(head.query, "q"));
    assert_int_equal(head.message.header_count, 5);
    assert_ptr_equal(head.message.headers, head.headers);
    assert_true(bytes_is(head.headers[3].name, "X-A"));
    assert_true(bytes_is(head.headers[3].value, "b c"));
    assert_true(bytes_is(head.headers[4].value, ""));
    assert_int_equal(head.framing, BODY_LENGTH);
    assert_int_equal(head.content_length, 5);
    assert_true(head.keep_alive && head.expect_continue && !head.head_only);
    assert_int_equal(head.message.body.len, 0);

    assert_int_equal(
        parse(arena, "HEAD /p HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", &head),
        HTTP1_DONE);
    assert_true(head.head_only && !head.expect_continue);
    assert_int_equal(head.framing, BODY_NONE);

    const char *old =
        "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
    assert_int_equal(parse(arena, old, &head), HTTP1_DONE);
    assert_true(!head.expect_continue && head.framing == BODY_LENGTH);
    arena_free(arena);
}

/* llhttp would refuse these too, later and without saying why. */
static void test_own_checks_come_first(void **state) {
    static const struct {
        const char *text, *reason;
    } rows[] = {
        {WITH(CHUNKED "Content-Length: 5\r\n"), "Transfer-Encoding with Content-Length"},
        {WITH("Content-Length: 2\r\nContent-Length: 2\r\n"), "two Content-Length headers"},
        {WITH("nocolon\r\n"), "a header without a colon"},
        {WITH("A B: c\r\n"), "a malformed header name"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_string_equal(play_whole(true, "", bytes_str(rows[i].text)).reason, rows[i].reason);
}

/* Whatever we read, a second reading that comes to another framing refuses it. */
static void test_two_parsers_must_agree(void **state) {
    struct http1_head head = {.content_length = 5};
    struct reading r = {
        .head = &head, .request = true, .text = bytes_str(WITH("Content-Length: 5\r\n"))};
    (void)state;
    assert_int_equal(check_agreement(&r), HTTP1_DONE);
    head.content_length = 4;
    assert_int_equal(check_agreement(&r), HTTP1_BAD);
    head.content_length = 5;
    r.coding.count = 1;
    assert_int_equal(check_agreement(&r), HTTP1_BAD);
    r.coding.count = 0;
    r.http10 = true;
    assert_int_equal(check_agreement(&r), HTTP1_BAD);
    r.http10 = false;
    r.text = bytes_str(WITH("Content-Length: 5\r\n") "x");
    assert_int_equal(check_agreement(&r), HTTP1_BAD);
    r.text = bytes_str("GET / HTTP/1.1\r\nContent-Length: 5\r\n");
    assert_int_equal(check_agreement(&r), HTTP1_BAD);
}

static void test_keep_alive_follows_version_and_connection(void **state) {
    static const struct {
        const char *version, *connection;
        bool keep;
    } rows[] = {
        {"1.1", "x", true},
        {"1.1", "Keep-Alive", true},
        {"1.1", "Close", false},
        {"1.1", "keep-alive, close", false},
        {"1.1", "close\r\nConnection: keep-alive", false},
        {"1.0", "x", false},
        {"1.0", "keep-alive", true},
        {"1.0", "close, keep-alive", false},
    };
    struct arena *arena = arena_new(KIB(4));
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[128];
        struct http1_head head;
        snprintf(text, sizeof(text), "GET / HTTP/%s\r\nHost: a\r\nConnection: %s\r\n\r\n",
                 rows[i].version, rows[i].connection);
        assert_int_equal(parse(arena, text, &head), HTTP1_DONE);
        assert_int_equal(head.keep_alive, rows[i].keep);
        snprintf(text, sizeof(text),
                 "HTTP/%s 200 OK\r\nContent-Length: 0\r\nConnection: %s\r\n\r\n", rows[i].version,
                 rows[i].connection);
        assert_int_equal(
            http1_answer_head(arena, bytes_str(text), bytes_str("POST"), MIB(1), &head),
            HTTP1_DONE);
        assert_int_equal(head.keep_alive, rows[i].keep);
    }
    arena_free(arena);
}

static void test_answers(void **state) {
    static const struct row rows[] = {
        {OK "Content-Length: 2\r\n\r\n{}", 200},
        {OK "Content-Length: 0\r\n\r\n", 200},
        {OK CHUNKED "\r\n2\r\n{}\r\n0\r\n\r\n", 200},
        {OK "X_Y: z\r\nContent-Length: 0\r\n\r\n", 200},
        {OK "Connection: Host\r\nContent-Length: 0\r\n\r\n", 200},
        {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200},
        {"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", 200},
        {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", 200},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 200},
        {"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 200},
        {"HTTP/1.1 304 Not Modified\r\n\r\n", 200},
        {"HTTP/1.1 503 Busy\xff\r\nContent-Length: 0\r\n\r\n", 200},
        {OK "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 502},
        {OK "Content-Length: 2, 2\r\n\r\n{}", 502},
        {OK "Content-Length: +2\r\n\r\n{}", 502},
        {OK "Content-Length:\r\n\r\n", 502},
        {OK "Content-Length: 8388609\r\n\r\n", 502},
        {OK "Content-Length : 2\r\n\r\n{}", 502},
        {OK CHUNKED "Content-Length: 5\r\n\r\n0\r\n\r\n", 502},
        {OK CHUNKED CHUNKED "\r\n0\r\n\r\n", 502},
        {OK "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 502},
        {OK "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 502},
        {OK "Transfer-Encoding: identity\r\n\r\n", 502},
        {"HTTP/1.0 200 OK\r\n" CHUNKED "\r\n0\r\n\r\n", 502},
        {"HTTP/1.0 200 OK\r\n\r\nto the end", 502},
        {OK "\r\nto the end", 502},
        {"HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\nx", 502},
        {"HTTP/1.1 204 No Content\r\n" CHUNKED "\r\n0\r\n\r\n", 502},
        {"HTTP/1.1 304 Not Modified\r\nContent-Length: 1\r\n\r\n", 502},
        {"HTTP/1.1 100 Continue\r\nContent-Length: 1\r\n\r\n", 502},
        {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", 502},
        {"HTTP/1.1 200 OK\nContent-Length: 0\n\n", 502},
        {OK "X: a\r\n b\r\nContent-Length: 0\r\n\r\n", 502},
        {OK "X: a\rb\r\nContent-Length: 0\r\n\r\n", 502},
        {"\r\n" OK "Content-Length: 0\r\n\r\n", 502},
        {"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n", 502},
        {"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", 502},
        {"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n", 502},
        {"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n", 502},
        {"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", 502},
        {"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", 502},
        {"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 502},
        {"ICY 200 OK\r\nContent-Length: 0\r\n\r\n", 502},
        {OK "nocolon\r\nContent-Length: 0\r\n\r\n", 502},
        {OK ": x\r\nContent-Length: 0\r\n\r\n", 502},
    };
    static const struct row head_rows[] = {
        {OK "Content-Length: 99999999999\r\n\r\n", 200},
        {OK "\r\n", 200},
        {OK CHUNKED "\r\n", 200},
        {OK CHUNKED "Content-Length: 5\r\n\r\n", 502},
    };
    (void)state;
    assert_answers("POST", rows);
    assert_answers("HEAD", head_rows);
}

static void test_answer_head_says_what_was_sent(void **state) {
    struct http1_head head;
    struct arena *arena = arena_new(KIB(4));
    const char *text = OK "Content-Length: 7\r\n\r\n";
    (void)state;
    memset(&head, 0xa5, sizeof(head));
    assert_int_equal(http1_answer_head(arena, bytes_str(text), bytes_str("GET"), 7, &head),
                     HTTP1_DONE);
    assert_int_equal(head.message.status, 200);
    assert_int_equal(head.framing, BODY_LENGTH);
    assert_int_equal(head.content_length, 7);
    assert_false(head.head_only);
    assert_int_equal(http1_answer_head(arena, bytes_str(text), bytes_str("GET"), 6, &head),
                     HTTP1_BAD);
    assert_int_equal(http1_answer_head(arena, bytes_str(text), bytes_str("HEAD"), 6, &head),
                     HTTP1_DONE);
    assert_int_equal(head.framing, BODY_NONE);
    arena_free(arena);
}

static void test_no_memory_is_503(void **state) {
    struct arena *arena = arena_new(1);
    struct http1_head head;
    (void)state;
    assert_int_equal(parse(arena, "GET /%61 HTTP/1.1\r\nHost: a\r\n\r\n", &head), HTTP1_BAD);
    assert_int_equal(head.status, 503);
    arena_free(arena);
}

static void test_half_heads_are_refused(void **state) {
    const char *whole = "GET /p HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    struct arena *arena = arena_new(KIB(4));
    struct http1_head head;
    char text[128];
    (void)state;
    for (size_t n = 0; n < strlen(whole); n++) {
        memcpy(text, whole, n);
        text[n] = '\0';
        assert_int_equal(parse(arena, text, &head), HTTP1_BAD);
    }
    snprintf(text, sizeof(text), "%sx", whole);
    assert_int_equal(parse(arena, text, &head), HTTP1_BAD);
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_beyond_the_corpus),
        cmocka_unit_test(test_host_is_a_host),
        cmocka_unit_test(test_head_says_what_was_sent),
        cmocka_unit_test(test_own_checks_come_first),
        cmocka_unit_test(test_two_parsers_must_agree),
        cmocka_unit_test(test_keep_alive_follows_version_and_connection),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_answer_head_says_what_was_sent),
        cmocka_unit_test(test_no_memory_is_503),
        cmocka_unit_test(test_half_heads_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
