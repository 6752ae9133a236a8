/* upstream_conn.c - one connection to an endpoint: the request out, the answer in, strictly. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/require.h"
#include "pieces.h"
#include "upstream_private.h"

#define UPSTREAM_MAGIC 0x55504353u
enum { IOV_MAX_ONCE = 64 };

static void conn_free(struct parked *p) {
    struct upstream_conn *c = (struct upstream_conn *)p;
    buf_free(&c->in);
    free(c);
}

void upstream_conn_close(struct upstream_conn *c) {
    require(c->magic == UPSTREAM_MAGIC && c->call == NULL);
    if (c->state == UP_CLOSED)
        return;
    if (c->state == UP_IDLE) {
        list_remove(&c->link);
        c->endpoint->idle_count--;
    }
    c->state = UP_CLOSED;
    timer_stop(&c->idle_timer);
    event_del(&c->readable);
    event_del(&c->writable);
    sock_close(&c->sock);
    worker_park(c->endpoint->upstream->worker, &c->parked);
    upstream_unref(c->endpoint->upstream);
}

/* Ends the connection and tells the call, if there is one. */
static void fail_as(struct upstream_conn *c, enum upstream_counter why,
                    enum endpoint_outcome outcome) {
    struct upstream_call *call = c->call;
    bool sent = c->sent > 0;
    c->call = NULL;
    upstream_conn_close(c);
    if (call != NULL)
        call_failed(call, why, outcome, sent);
}

static void fail(struct upstream_conn *c) {
    fail_as(c, UPSTREAM_ERROR, OUTCOME_BAD);
}

static void fail_connect(struct upstream_conn *c) {
    fail_as(c, UPSTREAM_CONNECT, OUTCOME_NO_CONNECTION);
}

/* An answer over the policy's limit is the query's doing, not the endpoint's. */
static void fail_too_big(struct upstream_conn *c) {
    fail_as(c, UPSTREAM_ERROR, OUTCOME_NONE);
}

/* Writes until all is written (IO_OK), the socket is full (IO_AGAIN, and then it waits for
 * writable) or broken. */
static enum io_status write_some(struct upstream_conn *c) {
    struct upstream_call *call = c->call;
    while (call->out_at < call->out_count) {
        struct iovec *v = &call->out[call->out_at];
        uint32_t count = call->out_count - call->out_at;
        size_t n = 0;
        enum io_status s =
            sock_writev(&c->sock, v, (int)(count < IOV_MAX_ONCE ? count : IOV_MAX_ONCE), &n);
        if (s == IO_AGAIN)
            event_add(&c->writable, NULL);
        if (s != IO_OK)
            return s;
        c->sent += n;
        pieces_written(call->out, call->out_count, &call->out_at, n);
    }
    return IO_OK;
}

static void read_answer(struct upstream_conn *c);

static void write_request(struct upstream_conn *c) {
    enum io_status s = write_some(c);
    if (s == IO_OK || s == IO_AGAIN)
        return;
    if (c->sent == 0) {
        fail(c);
        return;
    }
    /* It takes no more, but may have said why: an early answer (413, 400) waits to be read. */
    c->spent = true;
    c->call->out_at = c->call->out_count;
    read_answer(c);
}

void endpoint_close_idle(struct endpoint *e) {
    while (!list_empty(&e->idle))
        upstream_conn_close(list_object(e->idle.next, struct upstream_conn, link));
}

/* The answer is whole.  The connection goes back to the pool only if nothing about it is odd. */
static void answered(struct upstream_conn *c) {
    struct upstream_call *call = c->call;
    struct endpoint *e = c->endpoint;
    struct http1_head *head = c->head;
    struct bytes body =
        c->chunks != NULL ? buf_bytes(call->request.spill) : bytes_of(c->body, c->body_len);
    bool keep = head->keep_alive && call->out_at == call->out_count && !e->upstream->retired &&
                e->idle_count < POOL_IDLE_MAX && !sock_pending(&c->sock);
    c->call = NULL;
    c->head = NULL;
    c->chunks = NULL;
    c->body = NULL;
    buf_free(&c->in);
    if (keep) {
        c->state = UP_IDLE;
        list_push(&e->idle, &c->link);
        e->idle_count++;
        timer_set(&e->upstream->worker->timers, &c->idle_timer, worker_now(e->upstream->worker),
                  POOL_IDLE_TIMEOUT);
    } else {
        upstream_conn_close(c);
    }
    call_answered(call, head, body);
}

/* Room for the announced body; false: no memory. */
static bool body_prepare(struct upstream_conn *c) {
    struct arena *arena = c->call->request.arena;
    c->body_len = 0;
    if (c->head->framing == BODY_CHUNKED) {
        buf_clear(c->call->request.spill);
        return (c->chunks = http1_chunks_new(arena)) != NULL;
    }
    size_t len = c->head->framing == BODY_LENGTH ? c->head->content_length : 0;
    if ((c->body = arena_alloc(arena, len + BODY_PADDING)) == NULL)
        return false;
    memset(c->body + len, 0, BODY_PADDING);
    return true;
}

static bool chunked_done(struct upstream_conn *c) {
    char *padding = buf_reserve(c->call->request.spill, BODY_PADDING);
    if (padding != NULL)
        memset(padding, 0, BODY_PADDING);
    return padding != NULL;
}

/* Body bytes.  Bytes behind the body are of an answer nobody asked for, or of this one, whose
 * length is then a lie: neither is let out. */
static void body_feed(struct upstream_conn *c, struct bytes data) {
    if (c->chunks != NULL) {
        size_t used = 0;
        unsigned status;
        const char *reason;
        enum http1_status s =
            http1_chunks_feed(c->chunks, data, &used, c->call->request.spill, &status, &reason);
        if (s == HTTP1_BAD || (s == HTTP1_DONE && (used < data.len || !chunked_done(c))))
            fail(c);
        else if (s == HTTP1_DONE)
            answered(c);
        return;
    }
    uint64_t want = c->head->framing == BODY_LENGTH ? c->head->content_length : 0;
    uint64_t left = want - c->body_len;
    size_t n = data.len < left ? data.len : (size_t)left;
    if (n > 0)
        memcpy(c->body + c->body_len, data.at, n);
    c->body_len += n;
    if (n < data.len)
        fail(c);
    else if (c->body_len == want)
        answered(c);
}

/* A head, if one is whole.  True: *data has moved on and there may be more to do. */
static bool head_feed(struct upstream_conn *c, struct bytes *data) {
    struct upstream_call *call = c->call;
    struct http1_head found;
    size_t skip = 0, len = 0;
    enum http1_status s = http1_find_head(*data, false, &c->scanned, &skip, &len, &found);
    if (s == HTTP1_MORE)
        return false;
    c->scanned = 0;
    struct http1_head *head = arena_alloc(call->request.arena, sizeof(*head));
    struct bytes text = s == HTTP1_DONE && head != NULL
                            ? arena_copy(call->request.arena, bytes_of(data->at + skip, len))
                            : bytes_of(NULL, 0);
    if (text.at == NULL)
        goto bad;
    memset(head, 0, offsetof(struct http1_head, headers));
    if (http1_answer_head(call->request.arena, text, bytes_str(call->request.method), UINT64_MAX,
                          head) != HTTP1_DONE)
        goto bad;
    *data = bytes_skip(*data, skip + len);
    if (head->message.status / 100 == 1) {
        if (head->message.status != 101 && ++c->interims <= INTERIM_ANSWERS_MAX)
            return true;
        goto bad;
    }
    if (head->framing == BODY_LENGTH && head->content_length > call->request.max_answer) {
        fail_too_big(c);
        return false;
    }
    c->head = head;
    if (body_prepare(c))
        return true;
bad:
    fail(c);
    return false;
}

static void feed(struct upstream_conn *c, struct bytes data) {
    while (c->state == UP_TALKING && c->head == NULL)
        if (!head_feed(c, &data))
            break;
    if (c->state != UP_TALKING || c->call == NULL)
        return;
    if (c->head != NULL) {
        buf_clear(&c->in);
        body_feed(c, data);
        return;
    }
    if (c->in.len > 0 && data.at >= c->in.at && data.at <= c->in.at + c->in.len)
        buf_consume(&c->in, c->in.len - data.len);
    else
        buf_add_bytes(&c->in, data);
    if (c->in.failed)
        fail(c);
}

static enum io_status read_some(struct upstream_conn *c, bool *full) {
    char *scratch = c->endpoint->upstream->worker->scratch;
    enum io_status s;
    size_t n = 0;
    *full = false;
    if (c->head != NULL && c->chunks == NULL) {
        uint64_t left = c->head->content_length - c->body_len;
        s = sock_read(&c->sock, c->body + c->body_len, left, &n);
        if (s == IO_OK) {
            c->body_len += n;
            *full = n >= KIB(64);
            if (c->body_len == c->head->content_length)
                answered(c);
        }
        return s;
    }
    s = sock_read(&c->sock, scratch, READ_BYTES_MAX, &n);
    if (s != IO_OK)
        return s;
    *full = n == READ_BYTES_MAX;
    if (c->in.len == 0) {
        feed(c, bytes_of(scratch, n));
        return s;
    }
    buf_add(&c->in, scratch, n);
    if (c->in.failed)
        fail(c);
    else
        feed(c, buf_bytes(&c->in));
    return s;
}

static void read_answer(struct upstream_conn *c) {
    for (unsigned i = 0; i < READS_PER_WAKE_MAX; i++) {
        bool full;
        enum io_status s = read_some(c, &full);
        if (c->state != UP_TALKING)
            return;
        if (s == IO_EOF || s == IO_ERROR) {
            /* Whatever was missing is missing: never a short answer. */
            fail(c);
            return;
        }
        if (s == IO_AGAIN || (!full && !sock_pending(&c->sock)))
            return;
    }
}

static void talk(struct upstream_conn *c) {
    c->state = UP_TALKING;
    call_connected(c->call);
    write_request(c);
}

static void on_connected(struct upstream_conn *c) {
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(c->sock.fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0) {
        fail_connect(c);
        return;
    }
    if (c->endpoint->upstream->conf->tls.on) {
        c->state = UP_HANDSHAKE;
        event_add(&c->readable, NULL);
        event_active(&c->writable, EV_WRITE, 0);
        return;
    }
    event_add(&c->readable, NULL);
    talk(c);
}

static void handshake(struct upstream_conn *c) {
    switch (sock_handshake(&c->sock)) {
    case IO_OK:
        talk(c);
        return;
    case IO_AGAIN:
        if (c->sock.wants_write)
            event_add(&c->writable, NULL);
        return;
    default:
        fail_connect(c);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *cookie) {
    struct upstream_conn *c = cookie;
    (void)fd, (void)what;
    require(c->magic == UPSTREAM_MAGIC);
    if (c->state == UP_IDLE)
        upstream_conn_close(c); /* EOF, or bytes nobody asked for: of no more use. */
    else if (c->state == UP_HANDSHAKE)
        handshake(c);
    else if (c->state == UP_TALKING)
        read_answer(c);
}

static void on_writable(evutil_socket_t fd, short what, void *cookie) {
    struct upstream_conn *c = cookie;
    (void)fd, (void)what;
    require(c->magic == UPSTREAM_MAGIC);
    event_del(&c->writable);
    if (c->state == UP_CONNECTING)
        on_connected(c);
    else if (c->state == UP_HANDSHAKE)
        handshake(c);
    else if (c->state == UP_TALKING)
        write_request(c);
}

static void on_idle_time(struct timer *t) {
    upstream_conn_close(list_object(t, struct upstream_conn, idle_timer));
}

/* An idle connection has nothing to say.  If it has (bytes nobody asked for, or its end), and the
 * loop has not come to that yet, they would be taken for the answer to the next query: it is looked
 * at each time, which is worth its system call. */
static bool is_quiet(struct upstream_conn *c) {
    char byte;
    return !sock_pending(&c->sock) && recv(c->sock.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           (errno == EAGAIN || errno == EWOULDBLOCK);
}

static bool reuse(struct endpoint *e, struct upstream_call *call) {
    while (!list_empty(&e->idle)) {
        /* The one used last: it is the least likely to be closed by the peer by now. */
        struct upstream_conn *c = list_object(e->idle.prev, struct upstream_conn, link);
        if (!is_quiet(c)) {
            upstream_conn_close(c);
            continue;
        }
        list_remove(&c->link);
        e->idle_count--;
        timer_stop(&c->idle_timer);
        c->state = UP_TALKING;
        c->call = call;
        c->sent = 0;
        c->scanned = 0;
        c->interims = 0;
        call->conn = c;
        enum io_status io = write_some(c);
        if (io == IO_OK || io == IO_AGAIN)
            return true;
        /* The connection was dead.  If nothing was sent, the next one is tried; if something was,
         * the call has failed, which its caller learns from the loop. */
        bool sent = c->sent > 0;
        c->call = NULL;
        call->conn = NULL;
        upstream_conn_close(c);
        if (sent) {
            call->failure = UPSTREAM_ERROR;
            return true;
        }
    }
    return false;
}

static bool dial(struct upstream_conn *c, const struct endpoint_conf *to) {
    static const int one = 1;
    struct worker *w = c->endpoint->upstream->worker;
    const struct upstream_conf *conf = c->endpoint->upstream->conf;
    c->sock.fd = socket(to->address.at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->sock.fd < 0)
        return false;
    setsockopt(c->sock.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(c->sock.fd, (const struct sockaddr *)&to->address.at, to->address.len) != 0 &&
        errno != EINPROGRESS)
        return false;
    if (conf->tls.on &&
        !sock_tls_connect(&c->sock, conf->context,
                          conf->tls.name.len > 0 ? conf->tls.name : to->address.host))
        return false;
    return event_assign(&c->readable, w->base, c->sock.fd, EV_READ | EV_PERSIST, on_readable, c) ==
               0 &&
           event_assign(&c->writable, w->base, c->sock.fd, EV_WRITE | EV_PERSIST, on_writable, c) ==
               0 &&
           event_add(&c->writable, NULL) == 0;
}

/* What of errno is ours to mend, not the endpoint's. */
static bool is_local(int error) {
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
           error == EADDRNOTAVAIL || error == EADDRINUSE;
}

enum begun upstream_conn_begin(struct endpoint *e, struct upstream_call *call) {
    if (!call->pinned && reuse(e, call))
        return BEGUN;
    struct upstream_conn *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return BEGIN_LOCAL;
    c->parked.free = conn_free;
    c->magic = UPSTREAM_MAGIC;
    c->state = UP_CONNECTING;
    c->endpoint = e;
    list_init(&c->link);
    buf_init(&c->in, READ_BYTES_MAX + HEAD_BYTES_MAX);
    timer_init(&c->idle_timer, on_idle_time);
    errno = 0;
    if (!dial(c, endpoint_conf(e))) {
        enum begun why = errno == 0 || is_local(errno) ? BEGIN_LOCAL : BEGIN_REFUSED;
        sock_close(&c->sock);
        free(c);
        return why;
    }
    e->upstream->refs++;
    c->call = call;
    call->conn = c;
    return BEGUN;
}
