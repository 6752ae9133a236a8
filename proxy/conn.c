#include "conn.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/require.h"
#include "gate.h"
#include "peers.h"

static void conn_free(struct parked *p) {
    struct conn *c = (struct conn *)p;
    buf_free(&c->in);
    buf_free(&c->chunked_body);
    tls_peer_free(c->peer.certificate);
    free(c);
}

void conn_set_deadline(struct conn *c, uint64_t after_us) {
    timer_set(&c->worker->timers, &c->deadline, worker_now(c->worker), after_us);
}

void conn_close(struct conn *c) {
    struct worker *w = c->worker;
    require(c->magic == CONN_MAGIC);
    if (c->state == CONN_CLOSED)
        return;
    enum conn_state was = c->state;
    c->state = CONN_CLOSED;
    if (c->front.arena != NULL) {
        if (was == CONN_BODY || was == CONN_BUSY) {
            stats_count(w->stats, COUNT_client_aborts);
            if (c->front.call != NULL)
                c->front.handler->gone(&c->front, 0, "client gone");
        }
        conn_request_done(c);
    }
    timer_stop(&c->deadline);
    event_del(&c->readable);
    event_del(&c->writable);
    sock_close(&c->sock);
    list_remove(&c->link);
    if (c->counted)
        peers_leave(w->gate->peers, (struct sockaddr *)&c->address);
    w->conn_count--;
    worker_park(w, &c->parked);
    gate_conn_gone(w);
}

static void on_handshake(struct conn *c) {
    switch (sock_handshake(&c->sock)) {
    case IO_OK:
        if (!sock_peer(&c->sock, &c->peer.certificate)) {
            conn_close(c);
            return;
        }
        c->peer.verified_s = clock_wall_us() / SECONDS(1);
        event_del(&c->writable);
        c->state = CONN_IDLE;
        conn_set_deadline(c, c->worker->config->limits.head_timeout);
        if (sock_pending(&c->sock))
            conn_read(c);
        return;
    case IO_AGAIN:
        if (c->sock.wants_write)
            event_add(&c->writable, NULL);
        return;
    default:
        stats_count(c->worker->stats, COUNT_tls_handshake_failures);
        /* Nobody is answered, but the operator sees who was not let in, and why. */
        if (c->sock.fault != NULL)
            access_log_refusal(&c->worker->log, c->worker->config,
                               front_pseudonym(&c->peer.own, c->worker->config), 0, c->sock.fault);
        conn_close(c);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *cookie) {
    struct conn *c = cookie;
    (void)fd, (void)what;
    require(c->magic == CONN_MAGIC);
    if (c->state == CONN_HANDSHAKE)
        on_handshake(c);
    else
        conn_read(c);
}

static void on_writable(evutil_socket_t fd, short what, void *cookie) {
    struct conn *c = cookie;
    (void)fd, (void)what;
    require(c->magic == CONN_MAGIC);
    event_del(&c->writable);
    if (c->state == CONN_HANDSHAKE)
        on_handshake(c);
    else if (c->state == CONN_SENDING)
        conn_write(c);
    if (c->state == CONN_IDLE)
        conn_run(c);
}

static void on_deadline(struct timer *t) {
    struct conn *c = list_object(t, struct conn, deadline);
    require(c->magic == CONN_MAGIC);
    switch (c->state) {
    case CONN_HANDSHAKE:
        stats_count(c->worker->stats, COUNT_tls_handshake_failures);
        conn_close(c);
        return;
    case CONN_HEAD:
    case CONN_BODY:
        stats_count(c->worker->stats, COUNT_client_timeouts);
        conn_refuse(c, 408, "the request came too slowly");
        return;
    case CONN_SENDING:
        stats_count(c->worker->stats, COUNT_client_timeouts);
        conn_close(c);
        return;
    default:
        conn_close(c);
    }
}

static bool conn_start(struct conn *c, struct tls_context *tls) {
    struct worker *w = c->worker;
    static const int one = 1;
    setsockopt(c->sock.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* Fails on unix: fine. */
    if (event_assign(&c->readable, w->base, c->sock.fd, EV_READ | EV_PERSIST, on_readable, c) !=
            0 ||
        event_assign(&c->writable, w->base, c->sock.fd, EV_WRITE | EV_PERSIST, on_writable, c) != 0)
        return false;
    if (tls != NULL && !sock_tls_accept(&c->sock, tls))
        return false;
    return event_add(&c->readable, NULL) == 0;
}

/* Room for one more?  Admin connections have room of their own: a gate full of clients still says
 * how it is. */
static bool admit(struct worker *w, const struct sockaddr *address) {
    const struct limits_conf *limits = &w->config->limits;
    if (w == &w->gate->main)
        return w->conn_count < ADMIN_CONNECTIONS_MAX;
    return peers_enter(w->gate->peers, address, limits->connections_per_address,
                       gate_connections_max(w));
}

void conn_open(struct worker *w, int fd, const struct sockaddr *address, socklen_t len,
               int listener, const struct front_handler *handler) {
    const struct limits_conf *limits = &w->config->limits;
    struct tls_context *tls = listener >= 0 ? w->config->listeners[listener].context : NULL;
    struct conn *c = NULL;
    stats_count(w->stats, COUNT_connections);
    bool counted = w != &w->gate->main;
    if (!admit(w, address)) {
        stats_count(w->stats, COUNT_connections_refused);
        goto err0;
    }
    if ((c = calloc(1, sizeof(*c))) == NULL)
        goto err1;
    c->parked.free = conn_free;
    c->magic = CONN_MAGIC;
    c->worker = w;
    c->handler = handler;
    c->counted = counted;
    c->sock.fd = fd;
    c->state = tls != NULL ? CONN_HANDSHAKE : CONN_IDLE;
    memcpy(&c->address, address, len);
    peer_text(address, c->peer.own.text, sizeof(c->peer.own.text));
    c->peer.local = !ip_of(address, &c->peer.ip);
    c->peer.listener = listener;
    c->peer.sock = tls != NULL ? &c->sock : NULL;
    c->peer.verified_under = w->config->serial;
    buf_init(&c->in, READ_BYTES_MAX);
    timer_init(&c->deadline, on_deadline);
    if (!conn_start(c, tls))
        goto err2;
    list_push(&w->conns, &c->link);
    w->conn_count++;
    conn_set_deadline(c, tls != NULL ? HANDSHAKE_TIMEOUT : limits->idle_timeout);
    return;
err2:
    sock_close(&c->sock);
    fd = -1;
    free(c);
err1:
    if (counted)
        peers_leave(w->gate->peers, address);
err0:
    if (fd >= 0)
        close(fd);
}

bool conn_too_slow(struct conn *c, uint64_t bytes, uint64_t least) {
    uint64_t now = worker_now(c->worker), span = now - c->mark_us;
    if (span < SECONDS(10))
        return false;
    bool slow = (bytes - c->mark_bytes) * SECONDS(1) < least * span;
    c->mark_us = now;
    c->mark_bytes = bytes;
    return slow;
}

void conn_resume(struct conn *c) {
    if (!c->paused)
        return;
    c->paused = false;
    event_add(&c->readable, NULL);
    /* What TLS has read already makes no socket readable. */
    if (sock_pending(&c->sock))
        event_active(&c->readable, EV_READ, 0);
}

void conn_drain(struct conn *c) {
    c->closing = true;
    if (c->state == CONN_IDLE)
        conn_read(c); /* A request may be waiting in the socket. */
    if (c->state != CONN_IDLE && c->state != CONN_HANDSHAKE)
        return;
    if (c->served)
        conn_linger(c);
    else
        conn_set_deadline(c, DRAIN_GRACE);
}
