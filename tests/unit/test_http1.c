#include "../../proxy/http1.c"

#include "http1_play.h"

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

static void test_pipelined_requests_stand_alone(void **state) {
    static const char *const parts[] = {
        WITH("Content-Length: 2\r\n") "{}",
        "\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
        WITH(CHUNKED) "3\r\nabc\r\n0\r\nX: y\r\n\r\n",
        WITH("Content-Length: 2\r\nContent-Length: 2\r\n") "{}",
        "GET /never HTTP/1.1\r\nHost: a\r\n\r\n",
    };
    struct buf text;
    size_t good = 0;
    (void)state;
    buf_init(&text, KIB(1));
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        good = i == 3 ? text.len : good;
        buf_add_str(&text, parts[i]);
    }
    struct outcome o = play_every_way(true, "", buf_bytes(&text));
    assert_int_equal(o.messages, 3);
    assert_int_equal(o.status, 400);
    assert_same(play_every_way(true, "", bytes_of(text.at, good)),
                (struct outcome){.messages = 3, .digest = o.digest, .whole = true});
    buf_free(&text);
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

    struct buf many;
    buf_init(&many, KIB(1));
    scanned = 0;
    buf_add_str(&many, "GET / HTTP/1.1\r\n");
    for (int i = 0; i < HEADERS_MAX; i++)
        buf_add_str(&many, "X: y\r\n");
    assert_int_equal(http1_find_head(buf_bytes(&many), true, &scanned, &skip, &len, &head),
                     HTTP1_MORE);
    buf_add_str(&many, "X: y\r\n");
    assert_int_equal(http1_find_head(buf_bytes(&many), true, &scanned, &skip, &len, &head),
                     HTTP1_BAD);
    buf_free(&many);
    assert_int_equal(head.status, 431);
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
        cmocka_unit_test(test_pipelined_requests_stand_alone),
        cmocka_unit_test(test_limits_hold_to_the_byte),
        cmocka_unit_test(test_verdict_comes_as_soon_as_it_is_known),
        cmocka_unit_test(test_every_prefix_of_a_good_request_asks_for_more),
        cmocka_unit_test(test_answer_limits),
        cmocka_unit_test(test_control_bytes_are_found_wherever_they_stand),
        cmocka_unit_test(test_reasons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
