/* upstream.c - which endpoint a call goes to, and what becomes of it. */
#include "upstream.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/require.h"
#include "pieces.h"
#include "upstream_private.h"

enum { TRIES_MAX = 3 };

const struct endpoint_conf *endpoint_conf(const struct endpoint *e) {
    return &e->upstream->conf->endpoints[e->index];
}

static struct upstream *upstream_new(struct worker *w, struct config *config,
                                     const struct upstream_conf *conf) {
    struct upstream *u = calloc(1, sizeof(*u) + conf->endpoint_count * sizeof(u->endpoints[0]));
    if (u == NULL)
        return NULL;
    u->worker = w;
    u->config = config_ref(config);
    u->conf = conf;
    u->refs = 1;
    u->series = stats_upstream_series(conf->name);
    u->turn = w->index;
    for (uint32_t i = 0; i < conf->endpoint_count; i++) {
        struct endpoint *e = &u->endpoints[i];
        e->upstream = u;
        e->index = i;
        list_init(&e->idle);
    }
    list_push(&w->upstreams, &u->link);
    health_start(u);
    return u;
}

void upstream_unref(struct upstream *u) {
    require(u->refs > 0);
    if (--u->refs > 0)
        return;
    config_unref(u->config);
    free(u);
}

static void close_idle(struct upstream *u) {
    for (uint32_t i = 0; i < u->conf->endpoint_count; i++)
        endpoint_close_idle(&u->endpoints[i]);
}

static void retire(struct upstream *u) {
    u->retired = true;
    health_stop(u);
    list_remove(&u->link);
    close_idle(u);
    upstream_unref(u);
}

/* TLS ones are never the same: their certificates may have been renewed in place. */
static bool same(const struct upstream_conf *a, const struct upstream_conf *b) {
    if (!bytes_eq(a->name, b->name) || a->codec != b->codec || a->timeout != b->timeout ||
        a->connect_timeout != b->connect_timeout || a->max_pending != b->max_pending ||
        !bytes_eq(a->health_path, b->health_path) || a->health_interval != b->health_interval ||
        a->endpoint_count != b->endpoint_count)
        return false;
    for (uint32_t i = 0; i < a->endpoint_count; i++)
        if (!bytes_eq(a->endpoints[i].url, b->endpoints[i].url) || a->endpoints[i].tls ||
            a->endpoints[i].address.len != b->endpoints[i].address.len ||
            memcmp(&a->endpoints[i].address.at, &b->endpoints[i].address.at,
                   a->endpoints[i].address.len) != 0)
            return false;
    return true;
}

static struct upstream *find(struct worker *w, const struct upstream_conf *conf) {
    for (struct list *n = w->upstreams.next; n != &w->upstreams; n = n->next) {
        struct upstream *u = list_object(n, struct upstream, link);
        if (u->conf == conf || same(u->conf, conf))
            return u;
    }
    return NULL;
}

struct upstream *upstream_hold(struct worker *w, const struct upstream_conf *conf) {
    struct upstream *u = find(w, conf);
    if (u != NULL)
        u->refs++;
    return u;
}

void upstream_release(struct upstream *u) {
    if (u != NULL)
        upstream_unref(u);
}

bool upstreams_apply(struct worker *w) {
    struct list old;
    list_init(&old);
    while (!list_empty(&w->upstreams)) {
        struct list *n = w->upstreams.next;
        list_remove(n);
        list_push(&old, n);
    }
    bool ok = true;
    for (uint32_t i = 0; i < w->config->upstream_count; i++) {
        const struct upstream_conf *conf = &w->config->upstreams[i];
        struct upstream *kept = NULL;
        for (struct list *n = old.next; kept == NULL && n != &old; n = n->next)
            if (same(list_object(n, struct upstream, link)->conf, conf))
                kept = list_object(n, struct upstream, link);
        if (kept == NULL) {
            ok = upstream_new(w, w->config, conf) != NULL && ok;
            continue;
        }
        struct config *before = kept->config;
        kept->config = config_ref(w->config);
        kept->conf = conf;
        config_unref(before);
        list_remove(&kept->link);
        list_push(&w->upstreams, &kept->link);
    }
    while (!list_empty(&old))
        retire(list_object(old.next, struct upstream, link));
    return ok;
}

void upstreams_close(struct worker *w) {
    while (!list_empty(&w->upstreams))
        retire(list_object(w->upstreams.next, struct upstream, link));
}

static struct endpoint *pick(struct upstream *u, uint64_t now) {
    struct endpoint *best = NULL;
    for (uint32_t i = 0; i < u->conf->endpoint_count; i++) {
        struct endpoint *e = &u->endpoints[(u->turn + i) % u->conf->endpoint_count];
        if (endpoint_usable(e, now) && (best == NULL || e->pending < best->pending))
            best = e;
    }
    u->turn++;
    return best;
}

static void leave_endpoint(struct upstream_call *call) {
    if (call->endpoint != NULL) {
        require(call->endpoint->pending > 0);
        call->endpoint->pending--;
    }
    call->endpoint = NULL;
}

static void call_end(struct upstream_call *call) {
    struct upstream *u = call->upstream;
    timer_stop(&call->timer);
    leave_endpoint(call);
    if (!call->pinned) {
        require(u->pending > 0);
        u->pending--;
    }
    upstream_unref(u);
}

static void report(struct upstream_call *call, enum endpoint_outcome outcome) {
    if (!call->pinned && call->endpoint != NULL)
        endpoint_outcome(call->endpoint, call->trial, outcome, worker_now(call->upstream->worker));
    call->trial = false;
}

/* Tells the caller; nothing of the call may be touched afterwards. */
static void tell(struct upstream_call *call, enum upstream_counter result,
                 const struct http1_head *head, struct bytes body) {
    upstream_done_fn *done = call->done;
    void *cookie = call->cookie;
    if (!call->pinned)
        stats_add(&call->upstream->worker->stats->upstreams[call->upstream->series][result], 1);
    call_end(call);
    done(cookie, result, head, body);
}

static void add(struct buf *b, const char *name, struct bytes value) {
    buf_add_str(b, name);
    buf_add_bytes(b, value);
    buf_add_str(b, "\r\n");
}

/* The request's bytes: everything in its head is ours, so nothing of the client's can smuggle. */
static bool lay_out(struct upstream_call *call, const struct endpoint_conf *to) {
    const struct upstream_request *r = &call->request;
    char room[HEAD_BYTES_MAX];
    struct buf head = {.at = room, .room = sizeof(room), .cap = sizeof(room)};
    buf_add_str(&head, r->method);
    buf_add_char(&head, ' ');
    buf_add_bytes(&head, r->out->path);
    add(&head, " HTTP/1.1\r\nHost: ", to->authority);
    if (r->out->content_type.len > 0)
        add(&head, "Content-Type: ", r->out->content_type);
    for (uint32_t i = 0; i < r->out->header_count; i++) {
        buf_add_bytes(&head, r->out->headers[i].name);
        add(&head, ": ", r->out->headers[i].value);
    }
    buf_add_bytes(&head, r->trace);
    if (r->out->body_len > 0 || r->method[0] == 'P') {
        buf_add_str(&head, "Content-Length: ");
        buf_add_u64(&head, r->out->body_len);
        buf_add_str(&head, "\r\n");
    }
    buf_add_str(&head, "\r\n");
    if (head.failed)
        return false;
    call->out_at = 0;
    call->out = pieces_lay_out(r->arena, buf_bytes(&head), r->out->pieces, r->out->piece_count,
                               &call->out_count);
    return call->out != NULL;
}

/* Puts the call on a connection of the best endpoint, or of the next best.  False: of none; *why
 * is CONNECT if one was asked, BUSY if not. */
static bool place(struct upstream_call *call, enum upstream_counter *why) {
    struct upstream *u = call->upstream;
    *why = UPSTREAM_BUSY;
    while (call->tries < TRIES_MAX) {
        uint64_t now = worker_now(u->worker);
        struct endpoint *e = call->pinned ? call->endpoint : pick(u, now);
        if (e == NULL || !lay_out(call, endpoint_conf(e)))
            return false;
        if (!call->pinned) {
            call->endpoint = e;
            e->pending++;
            call->trial = endpoint_taken(e, now);
        }
        call->tries++;
        enum begun begun = upstream_conn_begin(e, call);
        if (begun == BEGUN)
            return true;
        report(call, begun == BEGIN_REFUSED ? OUTCOME_NO_CONNECTION : OUTCOME_NONE);
        if (begun == BEGIN_REFUSED)
            *why = UPSTREAM_CONNECT;
        if (call->pinned || begun == BEGIN_LOCAL)
            return false;
        leave_endpoint(call);
    }
    return false;
}

static void on_call_time(struct timer *t) {
    struct upstream_call *call = list_object(t, struct upstream_call, timer);
    if (call->conn == NULL) {
        report(call, OUTCOME_BAD);
        tell(call, call->failure, NULL, bytes_of(NULL, 0));
        return;
    }
    bool connecting = call->connecting, late = clock_us() >= call->request.deadline_us;
    bool sent = call->conn->sent > 0;
    struct upstream_conn *conn = call->conn;
    call->conn = NULL;
    conn->call = NULL;
    upstream_conn_close(conn);
    call_failed(call, UPSTREAM_TIMEOUT, connecting ? OUTCOME_NO_CONNECTION : OUTCOME_BAD,
                sent || late || !connecting);
}

static void set_timer(struct upstream_call *call) {
    uint64_t now = worker_now(call->upstream->worker), deadline = call->request.deadline_us;
    uint64_t connect = call->upstream->conf->connect_timeout;
    if (call->conn == NULL)
        deadline = now; /* It has failed already. */
    call->connecting = call->conn != NULL && call->conn->state != UP_TALKING;
    uint64_t left = deadline > now ? deadline - now : 0;
    if (call->connecting && connect < left)
        left = connect;
    timer_set(&call->upstream->worker->timers, &call->timer, now, left);
}

void call_connected(struct upstream_call *call) {
    set_timer(call);
}

void call_failed(struct upstream_call *call, enum upstream_counter why,
                 enum endpoint_outcome outcome, bool sent) {
    struct upstream *u = call->upstream;
    enum upstream_counter again;
    call->conn = NULL;
    report(call, outcome);
    if (!sent && !call->pinned && clock_us() < call->request.deadline_us) {
        leave_endpoint(call);
        stats_add(&u->worker->stats->upstreams[u->series][UPSTREAM_RETRY], 1);
        if (place(call, &again)) {
            set_timer(call);
            return;
        }
    }
    tell(call, why, NULL, bytes_of(NULL, 0));
}

/* A 500 is often the query's doing (a shape the model does not like): if it counted, one client
 * could close the endpoint to all.  502 to 504 are the server's. */
static enum endpoint_outcome outcome_of(unsigned status) {
    return status >= 502 && status <= 504 ? OUTCOME_BAD : OUTCOME_GOOD;
}

void call_answered(struct upstream_call *call, const struct http1_head *head, struct bytes body) {
    enum upstream_counter result = head->message.status >= 500   ? UPSTREAM_ERROR
                                   : head->message.status >= 300 ? UPSTREAM_REFUSED
                                                                 : UPSTREAM_OK;
    call->conn = NULL;
    report(call, outcome_of(head->message.status));
    tell(call, result, head, body);
}

struct upstream_call *call_start(struct upstream *u, struct endpoint *pinned,
                                 const struct upstream_request *r, upstream_done_fn *done,
                                 void *cookie, enum upstream_counter *why) {
    struct upstream_call *call = arena_new_array(r->arena, struct upstream_call, 1);
    *why = UPSTREAM_BUSY;
    if (call == NULL || (pinned == NULL && u->pending >= u->conf->max_pending))
        return NULL;
    call->upstream = u;
    call->request = *r;
    call->done = done;
    call->cookie = cookie;
    call->pinned = pinned != NULL;
    timer_init(&call->timer, on_call_time);
    u->refs++;
    call->endpoint = pinned;
    if (pinned != NULL)
        pinned->pending++;
    else
        u->pending++;
    if (place(call, why)) {
        set_timer(call);
        return call;
    }
    call_end(call);
    return NULL;
}

struct upstream_call *upstream_start(struct upstream *u, const struct upstream_request *r,
                                     upstream_done_fn *done, void *cookie,
                                     enum upstream_counter *why) {
    struct upstream_call *call = call_start(u, NULL, r, done, cookie, why);
    if (call == NULL)
        stats_add(&u->worker->stats->upstreams[u->series][*why], 1);
    return call;
}

void upstream_cancel(struct upstream_call *call) {
    if (call->conn != NULL) {
        call->conn->call = NULL;
        upstream_conn_close(call->conn);
        call->conn = NULL;
    }
    report(call, OUTCOME_NONE);
    call_end(call);
}

struct bytes upstream_call_endpoint(const struct upstream_call *call) {
    return call->endpoint != NULL ? endpoint_conf(call->endpoint)->url : bytes_of(NULL, 0);
}
