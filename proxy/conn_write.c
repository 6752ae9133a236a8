/* conn_write.c - answers, from a reply to the client's socket. */
#include <stdio.h>

#include "base/clock.h"
#include "base/require.h"
#include "conn.h"
#include "pieces.h"

enum { IOV_MAX_ONCE = 64, REPLY_HEAD_MAX = 4096 };

static struct conn *conn_of(struct front *f) {
    return list_object(f, struct conn, front);
}

static void add_header(struct buf *b, const char *name, struct bytes value) {
    buf_add_str(b, name);
    buf_add_bytes(b, value);
    buf_add_str(b, "\r\n");
}

/* The status line and headers; what an upstream said is in none of them but those the codec made.
 */
static void write_head(struct buf *b, const struct reply *r, bool close) {
    buf_add_str(b, "HTTP/1.1 ");
    buf_add_u64(b, r->status);
    buf_add_char(b, ' ');
    buf_add_str(b, http1_reason(r->status));
    buf_add_str(b, "\r\n");
    if (r->content_type.len > 0)
        add_header(b, "Content-Type: ", r->content_type);
    for (uint32_t i = 0; i < r->header_count; i++) {
        buf_add_bytes(b, r->headers[i].name);
        add_header(b, ": ", r->headers[i].value);
    }
    if (r->retry_after_s > 0) {
        buf_add_str(b, "Retry-After: ");
        buf_add_u64(b, r->retry_after_s);
        buf_add_str(b, "\r\n");
    }
    buf_add_str(b, "Content-Length: ");
    buf_add_u64(b, r->body_len);
    buf_add_str(b, close ? "\r\nConnection: close\r\n\r\n" : "\r\n\r\n");
}

/* The answer as an iovec in the arena. */
static bool lay_out(struct conn *c, const struct reply *r) {
    char room[REPLY_HEAD_MAX];
    struct buf head = {.at = room, .room = sizeof(room), .cap = sizeof(room)};
    write_head(&head, r, c->closing);
    if (head.failed)
        return false;
    c->out_at = 0;
    c->out = pieces_lay_out(c->front.arena, buf_bytes(&head), r->pieces,
                            c->front.head->head_only ? 0 : r->piece_count, &c->out_count);
    return c->out != NULL;
}

void front_reply(struct front *f, const struct reply *r) {
    struct conn *c = conn_of(f);
    require(c->magic == CONN_MAGIC && (c->state == CONN_BUSY || c->state == CONN_BODY));
    /* A body that was not read is not read now either: the connection ends after the answer. */
    c->closing = c->closing || r->close || !c->whole_body || c->worker->draining;
    if (!lay_out(c, r)) {
        conn_close(c);
        return;
    }
    c->state = CONN_SENDING;
    c->mark_us = worker_now(c->worker);
    c->mark_bytes = 0;
    conn_set_deadline(c, c->worker->config->limits.send_timeout);
    conn_write(c);
    if (c->state == CONN_IDLE)
        conn_run(c);
}

void front_reply_text(struct front *f, unsigned status, const char *type, struct bytes body) {
    struct reply r = {.status = status,
                      .content_type = bytes_str(type),
                      .pieces = arena_alloc(f->arena, sizeof(body)),
                      .piece_count = 1,
                      .body_len = body.len};
    if (r.pieces == NULL)
        r.piece_count = 0, r.body_len = 0;
    else
        *(struct bytes *)r.pieces = body;
    front_reply(f, &r);
}

/* An answer without a handler: the request is not one, or came too slowly. */
void conn_refuse(struct conn *c, unsigned status, const char *reason) {
    if (c->front.arena != NULL) {
        if (c->front.call != NULL)
            c->front.handler->gone(&c->front, status, reason);
        conn_request_done(c);
    } else {
        stats_add(&c->worker->stats->status[status / 100], 1);
        access_log_refusal(&c->worker->log, c->worker->config,
                           front_pseudonym(&c->peer.own, c->worker->config), status, reason);
    }
    static struct http1_head none;
    struct arena *arena = worker_arena(c->worker);
    struct bytes body = bytes_of(NULL, 0);
    if (arena != NULL)
        body = arena_printf(arena, "{\"error\":\"%s\"}", reason);
    if (body.at == NULL) {
        arena_free(arena);
        conn_close(c);
        return;
    }
    c->front = (struct front){.worker = c->worker, .arena = arena, .head = &none};
    c->whole_body = false;
    c->state = CONN_BUSY;
    front_reply_text(&c->front, status, "application/json", body);
}

void conn_linger(struct conn *c) {
    c->state = CONN_LINGER;
    buf_free(&c->in);
    sock_shutdown_write(&c->sock);
    if (c->got_eof) {
        conn_close(c);
        return;
    }
    conn_resume(c);
    conn_set_deadline(c, CONN_LINGER_TIME);
}

void conn_request_done(struct conn *c) {
    struct front f = c->front;
    if (f.handler != NULL && f.call != NULL)
        f.handler->ended(&c->front, c->sent);
    stats_add(&c->worker->stats->counters[COUNT_answer_bytes], c->sent);
    c->front = (struct front){0};
    c->out_count = c->out_at = 0;
    c->chunks = NULL;
    c->body = NULL;
    buf_free(&c->chunked_body);
    worker_arena_done(c->worker, f.arena);
    c->sent = 0;
}

static void answer_done(struct conn *c) {
    conn_request_done(c);
    c->served = true;
    if (c->closing) {
        conn_linger(c);
        return;
    }
    c->state = CONN_IDLE;
    conn_set_deadline(c, c->worker->config->limits.idle_timeout);
}

void conn_write(struct conn *c) {
    while (c->out_at < c->out_count) {
        uint32_t count = c->out_count - c->out_at;
        size_t n = 0;
        enum io_status s = sock_writev(&c->sock, c->out + c->out_at,
                                       (int)(count < IOV_MAX_ONCE ? count : IOV_MAX_ONCE), &n);
        if (s == IO_AGAIN) {
            if (conn_too_slow(c, c->sent, SEND_RATE_MIN)) {
                stats_count(c->worker->stats, COUNT_client_timeouts);
                conn_close(c);
                return;
            }
            event_add(&c->writable, NULL);
            conn_set_deadline(c, c->worker->config->limits.send_timeout);
            return;
        }
        if (s != IO_OK) {
            conn_close(c);
            return;
        }
        c->sent += n;
        pieces_written(c->out, c->out_count, &c->out_at, n);
    }
    answer_done(c);
}
