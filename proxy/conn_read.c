/* conn_read.c - from a client's bytes to requests. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/require.h"
#include "conn.h"

/* Bytes behind the current request that may wait: one more head and a little. */
#define AHEAD_MAX (HEAD_BYTES_MAX + KIB(16))

/* Keeps what was read and cannot be used yet. */
static void keep(struct conn *c, struct bytes rest) {
    if (rest.at == c->in.at) {
        c->in.len = rest.len;
        return;
    }
    if (c->in.len > 0 && rest.at > c->in.at && rest.at <= c->in.at + c->in.len) {
        buf_consume(&c->in, c->in.len - rest.len);
        return;
    }
    buf_clear(&c->in);
    buf_add_bytes(&c->in, rest);
    if (c->in.failed)
        conn_close(c);
}

static bool request_begin(struct conn *c, struct bytes text) {
    struct worker *w = c->worker;
    struct arena *arena = worker_arena(w);
    struct http1_head *head = arena != NULL ? arena_alloc(arena, sizeof(*head)) : NULL;
    struct bytes copy = head != NULL ? arena_copy(arena, text) : bytes_of(NULL, 0);
    if (copy.at == NULL) {
        arena_free(arena);
        conn_close(c);
        return false;
    }
    memset(head, 0, offsetof(struct http1_head, headers));
    enum http1_status s = http1_request_head(arena, copy, w->config->limits.max_body, head);
    if (s != HTTP1_DONE) {
        unsigned status = head->status;
        const char *reason = head->reason;
        worker_arena_done(w, arena);
        stats_count(w->stats, COUNT_malformed_requests);
        conn_refuse(c, status, reason);
        return false;
    }
    c->front = (struct front){.worker = w,
                              .handler = c->handler,
                              .arena = arena,
                              .head = head,
                              .peer = &c->peer,
                              .began_us = c->began_us > 0 ? c->began_us : clock_us()};
    c->began_us = 0;
    c->closing = c->closing || !head->keep_alive || w->draining;
    c->body_len = c->sent = 0;
    c->body = NULL;
    c->chunks = NULL;
    c->whole_body =
        head->framing == BODY_NONE || (head->framing == BODY_LENGTH && head->content_length == 0);
    return true;
}

/* Room for the body, of which nothing is read yet.  False: no memory, answered. */
static bool body_prepare(struct conn *c) {
    struct http1_head *head = c->front.head;
    if (head->framing == BODY_CHUNKED) {
        buf_init(&c->chunked_body, c->worker->config->limits.max_body);
        c->chunks = http1_chunks_new(c->front.arena);
    } else {
        size_t len = head->framing == BODY_LENGTH ? head->content_length : 0;
        c->body = arena_alloc(c->front.arena, len + BODY_PADDING);
    }
    if (c->chunks != NULL || c->body != NULL)
        return true;
    conn_refuse(c, 503, "out of memory");
    return false;
}

static void body_done(struct conn *c) {
    struct bytes body = bytes_of(c->body, c->body_len);
    if (c->chunks != NULL) {
        c->front.body_bytes = c->chunked_body.len;
        c->chunked_body.cap += BODY_PADDING;
        if (buf_reserve(&c->chunked_body, BODY_PADDING) == NULL) {
            conn_refuse(c, 503, "out of memory");
            return;
        }
        body = buf_bytes(&c->chunked_body);
    } else {
        c->front.body_bytes = c->body_len;
    }
    memset((char *)body.at + body.len, 0, BODY_PADDING);
    c->whole_body = true;
    c->state = CONN_BUSY;
    timer_stop(&c->deadline);
    c->front.handler->body(&c->front, body);
}

/* Uses what of *data belongs to the body. */
static void body_feed(struct conn *c, struct bytes *data) {
    if (c->chunks != NULL) {
        size_t used = 0;
        unsigned status = 400;
        const char *reason = "malformed chunk";
        enum http1_status s =
            http1_chunks_feed(c->chunks, *data, &used, &c->chunked_body, &status, &reason);
        *data = bytes_skip(*data, used);
        if (s == HTTP1_DONE) {
            body_done(c);
        } else if (s == HTTP1_BAD) {
            stats_count(c->worker->stats, COUNT_malformed_requests);
            conn_refuse(c, status, reason);
        }
        return;
    }
    uint64_t left = c->front.head->content_length - c->body_len;
    size_t n = data->len < left ? data->len : (size_t)left;
    memcpy(c->body + c->body_len, data->at, n);
    c->body_len += n;
    *data = bytes_skip(*data, n);
    if (c->body_len == c->front.head->content_length)
        body_done(c);
}

/* The handler has seen the head and wants the body. */
static void body_begin(struct conn *c, struct bytes *data) {
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (!body_prepare(c))
        return;
    if (c->whole_body) {
        body_done(c);
        return;
    }
    c->state = CONN_BODY;
    c->mark_us = worker_now(c->worker);
    c->mark_bytes = 0;
    if (c->front.head->expect_continue && data->len == 0) {
        struct iovec iov = {(void *)go_on, sizeof(go_on) - 1};
        size_t n = 0;
        /* 25 bytes on a connection that owes the client nothing: they fit, or it is broken. */
        if (sock_writev(&c->sock, &iov, 1, &n) != IO_OK || n != iov.iov_len) {
            conn_close(c);
            return;
        }
    }
    if (data->len > 0)
        body_feed(c, data);
    if (c->state == CONN_BODY)
        conn_set_deadline(c, c->worker->config->limits.body_timeout);
}

/* A head, if a whole one is there.  False: more bytes are needed, or the connection ended. */
static bool head_feed(struct conn *c, struct bytes *data) {
    size_t skip = 0, len = 0;
    struct http1_head found;
    enum http1_status s = http1_find_head(*data, true, &c->scanned, &skip, &len, &found);
    if (s == HTTP1_MORE) {
        if (data->len > skip && c->state == CONN_IDLE) {
            c->state = CONN_HEAD;
            c->began_us = clock_us();
            conn_set_deadline(c, c->worker->config->limits.head_timeout);
        }
        return false;
    }
    c->scanned = 0;
    if (s == HTTP1_BAD) {
        stats_count(c->worker->stats, COUNT_malformed_requests);
        conn_refuse(c, found.status, found.reason);
        return false;
    }
    struct bytes head = bytes_of(data->at + skip, len);
    *data = bytes_skip(*data, skip + len);
    if (!request_begin(c, head))
        return false;
    c->state = CONN_BUSY;
    timer_stop(&c->deadline);
    if (c->front.handler->head(&c->front))
        body_begin(c, data);
    return true;
}

/* Goes on with *data until it is used up or the connection has to wait. */
static void run(struct conn *c, struct bytes data) {
    c->running = true;
    for (bool more = true; more;) {
        switch (c->state) {
        case CONN_IDLE:
        case CONN_HEAD:
            more = data.len > 0 && head_feed(c, &data);
            break;
        case CONN_BODY:
            more = data.len > 0;
            if (more)
                body_feed(c, &data);
            break;
        default:
            more = false;
        }
    }
    c->running = false;
    if (c->state == CONN_CLOSED || c->state == CONN_LINGER)
        return;
    keep(c, data);
    if (c->state == CONN_IDLE && c->in.len == 0) {
        if (c->got_eof) {
            conn_close(c);
            return;
        }
        buf_free(&c->in); /* An idle connection holds no buffer. */
    }
    if (c->in.len < AHEAD_MAX)
        conn_resume(c);
}

void conn_run(struct conn *c) {
    if (!c->running && c->state != CONN_CLOSED)
        run(c, buf_bytes(&c->in));
}

static void on_end(struct conn *c, enum io_status why) {
    /* A client that only half-closed cannot be told from one that is gone: while its query is
     * being answered that means to stop the work; an answer that is already being written is
     * finished. */
    if (why == IO_EOF && c->state == CONN_SENDING) {
        c->got_eof = c->closing = true;
        c->paused = true;
        event_del(&c->readable);
        return;
    }
    conn_close(c);
}

/* Straight into the body's place: no copy, no more than it wants. */
static enum io_status read_body(struct conn *c) {
    uint64_t left = c->front.head->content_length - c->body_len;
    size_t n = 0;
    enum io_status s = sock_read(&c->sock, c->body + c->body_len, left, &n);
    if (s != IO_OK)
        return s;
    c->body_len += n;
    if (c->body_len == c->front.head->content_length) {
        c->running = true;
        body_done(c);
        c->running = false;
        conn_run(c);
    }
    return IO_OK;
}

static enum io_status read_more(struct conn *c) {
    size_t n = 0;
    enum io_status s;
    if (c->state == CONN_LINGER)
        return sock_read(&c->sock, c->worker->scratch, READ_BYTES_MAX, &n);
    bool ahead = c->state == CONN_BUSY || c->state == CONN_SENDING;
    if (ahead && c->in.len >= AHEAD_MAX) {
        c->paused = true;
        event_del(&c->readable);
        return IO_AGAIN;
    }
    if (c->in.len == 0 && !ahead) {
        s = sock_read(&c->sock, c->worker->scratch, READ_BYTES_MAX, &n);
        if (s == IO_OK)
            run(c, bytes_of(c->worker->scratch, n));
        return s;
    }
    size_t room = ahead ? AHEAD_MAX - c->in.len : KIB(16);
    char *to = buf_reserve(&c->in, room);
    if (to == NULL)
        return IO_ERROR;
    if ((s = sock_read(&c->sock, to, room, &n)) == IO_OK) {
        c->in.len += n;
        if (!ahead)
            conn_run(c);
    }
    return s;
}

static bool body_too_slow(struct conn *c) {
    return conn_too_slow(c, c->chunks != NULL ? c->chunked_body.len : c->body_len, BODY_RATE_MIN);
}

void conn_read(struct conn *c) {
    enum io_status s = IO_OK;
    for (unsigned i = 0; i < READS_PER_WAKE_MAX && s == IO_OK; i++) {
        bool body = c->state == CONN_BODY && c->chunks == NULL;
        uint64_t before = c->body_len;
        s = body ? read_body(c) : read_more(c);
        if (c->state == CONN_CLOSED)
            return;
        /* What came was less than what fits: the socket is empty, and asking again is a call
         * for nothing.  (TLS may hold more.) */
        if (s == IO_OK && !sock_pending(&c->sock) && !(body && c->body_len - before >= KIB(64)))
            break;
    }
    if (s == IO_EOF || s == IO_ERROR) {
        on_end(c, s);
    } else if (c->state == CONN_BODY) {
        if (body_too_slow(c)) {
            stats_count(c->worker->stats, COUNT_client_timeouts);
            conn_refuse(c, 408, "the request came too slowly");
        } else {
            conn_set_deadline(c, c->worker->config->limits.body_timeout);
        }
    }
}
