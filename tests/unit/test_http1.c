/* The parsers are one unit over four files: all are included, so that statics are in reach. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "../../proxy/http1.c"
#include "../../proxy/http1_chunks.c"
#include "../../proxy/http1_head.c"
#include "../../proxy/http1_path.c"

#include "http1_harness.h"

struct request {
    int id;
    unsigned status; /* 200: every message accepted */
    const char *at;
    size_t len;
};

#define CASE(id, status, text) {id, status, text, sizeof(text) - 1},
static const struct request corpus[] = {
#include "http1_corpus.h"
};
#undef CASE
enum { CORPUS = sizeof(corpus) / sizeof(corpus[0]) };

struct outcome {
    unsigned status, messages;
    uint64_t digest;
    const char *reason;
    bool whole; /* nothing is left over */
};

/* Feeds text cut at `first`, then in pieces of `step` bytes. */
static struct outcome play(bool request, const char *method, struct bytes text, size_t first,
                           size_t step) {
    struct harness h;
    harness_open(&h, request, method);
    harness_feed(&h, bytes_of(text.at, first));
    for (size_t at = first; at < text.len && h.status == 0; at += step)
        harness_feed(&h, bytes_of(text.at + at, step < text.len - at ? step : text.len - at));
    bool whole = h.status == 0 && h.in.len == 0 && !h.have_head;
    struct outcome o = {h.status, h.messages, h.digest, h.reason, whole};
    harness_close(&h);
    return o;
}

static struct outcome play_whole(bool request, const char *method, struct bytes text) {
    return play(request, method, text, text.len, 1);
}

static void assert_same(struct outcome a, struct outcome b) {
    assert_int_equal(a.status, b.status);
    assert_int_equal(a.messages, b.messages);
    assert_true(a.digest == b.digest);
    assert_true(a.reason == b.reason || strcmp(a.reason, b.reason) == 0);
    assert_int_equal(a.whole, b.whole);
}

/* The verdict whole; the same cut in two at every byte; the same byte by byte. */
static struct outcome play_every_way(bool request, const char *method, struct bytes text) {
    struct outcome whole = play_whole(request, method, text);
    size_t cuts = text.len < 3000 ? text.len : 3000;
    for (size_t cut = 0; cut < cuts; cut++)
        assert_same(whole, play(request, method, text, cut, text.len));
    for (size_t cut = cuts; cut < text.len; cut += 997)
        assert_same(whole, play(request, method, text, cut, text.len));
    assert_same(whole, play(request, method, text, 0, 1));
    return whole;
}

static void test_corpus_is_judged_as_stated(void **state) {
    (void)state;
    assert_int_equal(CORPUS, 94);
    for (size_t i = 0; i < CORPUS; i++) {
        struct outcome o = play_every_way(true, "", bytes_of(corpus[i].at, corpus[i].len));
        unsigned got = o.status != 0 ? o.status : o.whole && o.messages == 1 ? 200 : 0;
        if (got != corpus[i].status)
            fail_msg("request %d: %u (%s), not %u", corpus[i].id, got, o.reason, corpus[i].status);
        assert_true(got != 200 ? o.messages == 0 && o.reason != NULL : o.reason == NULL);
    }
}

/* A row: the request, and the status it earns; 200 if it is accepted. */
struct row {
    const char *text;
    unsigned status;
};

static void assert_rows(bool request, const char *method, const struct row *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct outcome o = play_every_way(request, method, bytes_str(rows[i].text));
        unsigned got = o.status != 0 ? o.status : o.whole ? 200 : 0;
        if (got != rows[i].status)
            fail_msg("%s: %u (%s), not %u", rows[i].text, got, o.reason, rows[i].status);
    }
}
#define assert_requests(rows) assert_rows(true, "", rows, sizeof(rows) / sizeof((rows)[0]))
#define assert_answers(method, rows)                                                               \
    assert_rows(false, method, rows, sizeof(rows) / sizeof((rows)[0]))

#define WITH(headers) "POST /p HTTP/1.1\r\nHost: a\r\n" headers "\r\n"

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

static enum http1_status parse(struct arena *arena, const char *text, struct http1_head *head) {
    memset(head, 0xa5, sizeof(*head)); /* nothing of it may be left */
    return http1_request_head(arena, bytes_str(text), BODY_BYTES_MAX, head);
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
    arena_free(arena);
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

static void test_pipelined_requests_stand_alone(void **state) {
    static const char *const parts[] = {
        WITH("Content-Length: 2\r\n") "{}",
        "\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
        WITH(CHUNKED) "3\r\nabc\r\n0\r\nX: y\r\n\r\n",
        WITH("Content-Length: 2\r\nContent-Length: 2\r\n") "{}",
        "GET /never HTTP/1.1\r\nHost: a\r\n\r\n",
    };
    char text[1024] = "";
    (void)state;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        strcat(text, parts[i]);
    struct outcome o = play_every_way(true, "", bytes_str(text));
    assert_int_equal(o.messages, 3);
    assert_int_equal(o.status, 400);
    size_t good = (size_t)(strstr(text, parts[3]) - text);
    assert_same(play_every_way(true, "", bytes_of(text, good)),
                (struct outcome){.messages = 3, .digest = o.digest, .whole = true});
}

/* "GET /aaa HTTP/1.1": a first line of n bytes; headers padded to n bytes; and so on. */
static unsigned verdict_of(struct buf *text) {
    unsigned status = play_every_way(true, "", buf_bytes(text)).status;
    buf_clear(text);
    return status != 0 ? status : 200;
}

static void add_padded(struct buf *text, const char *before, size_t n, const char *after) {
    buf_add_str(text, before);
    for (size_t i = strlen(before) + strlen(after); i < n; i++)
        buf_add_char(text, 'a');
    buf_add_str(text, after);
    buf_add_str(text, "\r\n");
}

static void test_limits_hold_to_the_byte(void **state) {
    struct buf text;
    (void)state;
    buf_init(&text, KIB(64));
    for (int over = -1; over <= 1; over++) {
        add_padded(&text, "GET /", HEAD_LINE_MAX + over, " HTTP/1.1");
        buf_add_str(&text, "Host: a\r\n\r\n");
        assert_int_equal(verdict_of(&text), over > 0 ? 414 : 200);

        buf_add_str(&text, "GET / HTTP/1.1\r\nHost: a\r\n");
        add_padded(&text, "X: ", HEADER_BYTES_MAX + over, "");
        buf_add_str(&text, "\r\n");
        assert_int_equal(verdict_of(&text), over > 0 ? 431 : 200);

        buf_add_str(&text, "GET / HTTP/1.1\r\nHost: a\r\n");
        for (int i = 1; i < HEADERS_MAX + over; i++)
            buf_add_str(&text, "X: y\r\n");
        buf_add_str(&text, "\r\n");
        assert_int_equal(verdict_of(&text), over > 0 ? 431 : 200);

        buf_add_str(&text, "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n");
        add_padded(&text, "X: ", HEADER_BYTES_MAX, "");
        add_padded(&text, "X: ", HEAD_BYTES_MAX - (text.len - 4) - 4 + over, "");
        buf_add_str(&text, "\r\n");
        assert_int_equal(text.len - 4, HEAD_BYTES_MAX + over);
        assert_int_equal(verdict_of(&text), over > 0 ? 431 : 200);

        buf_add_str(&text, WITH(CHUNKED));
        add_padded(&text, "1;x=", CHUNK_LINE_MAX + over, "");
        buf_add_str(&text, "z\r\n0\r\n\r\n");
        assert_int_equal(verdict_of(&text), over > 0 ? 400 : 200);

        buf_add_str(&text, WITH(CHUNKED) "0\r\n");
        add_padded(&text, "X: ", TRAILER_BYTES_MAX - 3 + over, "");
        buf_add_str(&text, "\r\n");
        assert_int_equal(verdict_of(&text), over > 0 ? 400 : 200);
    }
    buf_free(&text);
}

/* The 414 of an endless first line comes before the 431 of an endless head, at the first byte
 * that decides it, and with the head still incomplete. */
static void test_verdict_comes_as_soon_as_it_is_known(void **state) {
    char line[HEAD_LINE_MAX + 2];
    struct http1_head head;
    size_t scanned = 0, skip, len;
    (void)state;
    memset(line, 'a', sizeof(line));
    assert_int_equal(
        http1_find_head(bytes_of(line, HEAD_LINE_MAX), true, &scanned, &skip, &len, &head),
        HTTP1_MORE);
    assert_int_equal(
        http1_find_head(bytes_of(line, HEAD_LINE_MAX + 1), true, &scanned, &skip, &len, &head),
        HTTP1_BAD);
    assert_int_equal(head.status, 414);
}

static void test_every_prefix_of_a_good_request_asks_for_more(void **state) {
    (void)state;
    for (size_t i = 89; i < CORPUS; i++)
        for (size_t n = 1; n < corpus[i].len; n++) {
            struct http1_head head;
            size_t scanned = 0, skip, len;
            char *exact = malloc(n); /* AddressSanitizer watches its end */
            memcpy(exact, corpus[i].at, n);
            enum http1_status status =
                http1_find_head(bytes_of(exact, n), true, &scanned, &skip, &len, &head);
            bool whole = memmem(exact + 4, n > 4 ? n - 4 : 0, "\r\n\r\n", 4) != NULL;
            assert_int_equal(status, whole ? HTTP1_DONE : HTTP1_MORE);
            struct outcome o = play_whole(true, "", bytes_of(exact, n));
            assert_true(o.status == 0 && o.messages == 0);
            free(exact);
        }
}

static void test_answers(void **state) {
#define OK "HTTP/1.1 200 OK\r\n"
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

static void test_answer_limits(void **state) {
    struct buf text;
    (void)state;
    buf_init(&text, KIB(64));
    buf_add_str(&text, OK "Content-Length: 0\r\n");
    add_padded(&text, "X: ", HEADER_BYTES_MAX, "");
    add_padded(&text, "X: ", HEADER_BYTES_MAX - 200, "");
    buf_add_str(&text, "\r\n");
    assert_int_equal(play_every_way(false, "GET", buf_bytes(&text)).status, 0);
    text.len -= 2;
    add_padded(&text, "X: ", 200, "");
    buf_add_str(&text, "\r\n");
    assert_int_equal(play_every_way(false, "GET", buf_bytes(&text)).status, 502);
    buf_free(&text);
}

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

static void test_no_memory_is_503(void **state) {
    struct arena *arena = arena_new(1);
    struct http1_head head;
    (void)state;
    assert_null(http1_chunks_new(arena));
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
    strcat(strcpy(text, whole), "x");
    assert_int_equal(parse(arena, text, &head), HTTP1_BAD);
    arena_free(arena);
}

static void test_control_bytes_are_found_wherever_they_stand(void **state) {
    char text[32];
    (void)state;
    for (int c = 0; c < 256; c++)
        for (size_t at = 0; at < sizeof(text); at++) {
            memset(text, (int)(at * 37 % 128 + 128), sizeof(text));
            text[at] = (char)c;
            bool control = c < 0x20 || c == 0x7f;
            assert_ptr_equal(next_control(text, text + sizeof(text)),
                             text + (control ? at : sizeof(text)));
        }
}

static void test_reasons(void **state) {
    (void)state;
    assert_string_equal(http1_reason(431), "Request Header Fields Too Large");
    assert_string_equal(http1_reason(200), "OK");
    assert_string_equal(http1_reason(299), "Unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus_is_judged_as_stated),
        cmocka_unit_test(test_requests_beyond_the_corpus),
        cmocka_unit_test(test_host_is_a_host),
        cmocka_unit_test(test_path_is_decoded_once),
        cmocka_unit_test(test_head_says_what_was_sent),
        cmocka_unit_test(test_keep_alive_follows_version_and_connection),
        cmocka_unit_test(test_pipelined_requests_stand_alone),
        cmocka_unit_test(test_limits_hold_to_the_byte),
        cmocka_unit_test(test_verdict_comes_as_soon_as_it_is_known),
        cmocka_unit_test(test_every_prefix_of_a_good_request_asks_for_more),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_answer_head_says_what_was_sent),
        cmocka_unit_test(test_answer_limits),
        cmocka_unit_test(test_chunks_give_their_payload),
        cmocka_unit_test(test_chunks_refuse),
        cmocka_unit_test(test_chunks_keep_their_verdict),
        cmocka_unit_test(test_no_memory_is_503),
        cmocka_unit_test(test_half_heads_are_refused),
        cmocka_unit_test(test_control_bytes_are_found_wherever_they_stand),
        cmocka_unit_test(test_reasons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
