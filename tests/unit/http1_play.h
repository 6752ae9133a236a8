/* http1_play.h - the same bytes through the harness in every way they can be cut. */
#ifndef QG_HTTP1_PLAY_H
#define QG_HTTP1_PLAY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "http1_harness.h"

#define WITH(headers) "POST /p HTTP/1.1\r\nHost: a\r\n" headers "\r\n"
#define OK            "HTTP/1.1 200 OK\r\n"

struct outcome {
    unsigned status, messages;
    uint64_t digest;
    const char *reason;
    bool whole; /* nothing is left over */
};

/* Feeds text cut at `first`, then in pieces of `step` bytes. */
static inline struct outcome play(bool request, const char *method, struct bytes text, size_t first,
                                  size_t step) {
    struct harness h;
    harness_open(&h, request, method);
    harness_play(&h, text, first, step);
    bool whole = h.status == 0 && h.in.len == 0 && !h.have_head;
    struct outcome o = {h.status, h.messages, h.digest, h.reason, whole};
    harness_close(&h);
    return o;
}

static inline struct outcome play_whole(bool request, const char *method, struct bytes text) {
    return play(request, method, text, text.len, 1);
}

static inline void assert_same(struct outcome a, struct outcome b) {
    assert_int_equal(a.status, b.status);
    assert_int_equal(a.messages, b.messages);
    assert_true(a.digest == b.digest);
    assert_true(a.reason == b.reason || strcmp(a.reason, b.reason) == 0);
    assert_int_equal(a.whole, b.whole);
}

/* The verdict whole; the same cut in two at every byte; the same byte by byte. */
static inline struct outcome play_every_way(bool request, const char *method, struct bytes text) {
    struct outcome whole = play_whole(request, method, text);
    size_t cuts = text.len < 3000 ? text.len : 3000;
    for (size_t cut = 0; cut < cuts; cut++)
        assert_same(whole, play(request, method, text, cut, text.len));
    for (size_t cut = cuts; cut < text.len; cut += 997)
        assert_same(whole, play(request, method, text, cut, text.len));
    assert_same(whole, play(request, method, text, 0, 1));
    return whole;
}

/* A row: the request, and the status it earns; 200 if it is accepted. */
struct row {
    const char *text;
    unsigned status;
};

static inline void assert_rows(bool request, const char *method, const struct row *rows,
                               size_t count) {
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

#endif
