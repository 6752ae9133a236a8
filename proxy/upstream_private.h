/* upstream_private.h - shared by upstream.c (choice and calls), upstream_conn.c (bytes) and
 * upstream_health.c. */
#ifndef QG_UPSTREAM_PRIVATE_H
#define QG_UPSTREAM_PRIVATE_H

#include <event2/event_struct.h>

#include "base/limits.h"
#include "tls.h"
#include "upstream.h"

/* Outcomes of the last BREAKER_WINDOW; opened, it lets nothing through for BREAKER_OPEN_TIME and
 * then one call, whose outcome decides. */
struct breaker {
    uint64_t window_began, open_until;  /* us; open_until 0: closed */
    uint32_t calls, failures, in_a_row; /* in_a_row: connections that could not be made */
    bool trying;                        /* the one call of a half-open breaker is under way */
};

struct probe {
    struct upstream_call *call;
    struct arena *arena;
    struct buf spill;
    struct endpoint *endpoint;
    struct outgoing out;
};

struct endpoint {
    struct upstream *upstream;
    uint32_t index;   /* in conf->endpoints */
    struct list idle; /* connections, the one used last at the end */
    uint32_t idle_count, pending;
    struct breaker breaker;
    bool down;       /* said by the active checks */
    unsigned streak; /* checks in a row that disagree with `down` */
    struct probe probe;
};

struct upstream {
    struct list link; /* worker->upstreams */
    struct worker *worker;
    struct config *config; /* a reference: conf is in it */
    const struct upstream_conf *conf;
    uint32_t refs; /* the worker's list, each call, each connection */
    bool retired;
    uint32_t series, pending, turn;
    struct timer health;
    struct endpoint endpoints[];
};

enum upstream_conn_state { UP_CONNECTING, UP_HANDSHAKE, UP_TALKING, UP_IDLE, UP_CLOSED };

struct upstream_conn {
    struct parked parked;
    uint32_t magic;
    enum upstream_conn_state state;
    struct list link; /* endpoint->idle, while idle */
    struct endpoint *endpoint;
    struct sock sock;
    struct event readable, writable;
    struct timer idle_timer;
    struct upstream_call *call; /* NULL while idle */
    bool spent;                 /* never to be pooled: its writing side is broken */
    struct buf in;              /* part of a head */
    size_t scanned;
    unsigned interims;
    uint64_t sent; /* bytes of the current call */
    struct http1_head *head;
    char *body;
    uint64_t body_len;
    struct http1_chunks *chunks;
};

struct upstream_call {
    struct upstream *upstream;
    struct endpoint *endpoint;
    struct upstream_conn *conn; /* NULL between two tries, and after a failure that waits */
    struct upstream_request request;
    upstream_done_fn *done;
    void *cookie;
    struct timer timer;
    bool connecting; /* the timer is the connect deadline */
    bool pinned;     /* a health check: this endpoint and no other, no breaker, no limit */
    bool trial;      /* its outcome decides about a half-open breaker */
    unsigned tries;
    enum upstream_counter failure; /* told when the timer fires with conn == NULL */
    struct iovec *out;
    uint32_t out_count, out_at;
};

/* upstream_conn.c: an idle connection of e or a new one, with call on it. */
enum begun {
    BEGUN,
    BEGIN_REFUSED, /* the endpoint's doing; nothing was sent */
    BEGIN_LOCAL,   /* ours: out of descriptors, ports or memory */
};
MUST enum begun upstream_conn_begin(struct endpoint *e, struct upstream_call *call);
void upstream_conn_close(struct upstream_conn *c);
void endpoint_close_idle(struct endpoint *e);

enum endpoint_outcome {
    OUTCOME_GOOD,
    OUTCOME_BAD,
    OUTCOME_NO_CONNECTION,
    OUTCOME_NONE, /* says nothing about the endpoint */
};

/* upstream.c: what happened to a call. */
void call_failed(struct upstream_call *call, enum upstream_counter why,
                 enum endpoint_outcome outcome, bool sent);
void call_answered(struct upstream_call *call, const struct http1_head *head, struct bytes body);
void call_connected(struct upstream_call *call);
struct upstream_call *call_start(struct upstream *u, struct endpoint *pinned,
                                 const struct upstream_request *r, upstream_done_fn *done,
                                 void *cookie, enum upstream_counter *why);
void upstream_unref(struct upstream *u);
const struct endpoint_conf *endpoint_conf(const struct endpoint *e);

/* upstream_health.c */
void health_start(struct upstream *u);
void health_stop(struct upstream *u);
bool endpoint_usable(struct endpoint *e, uint64_t now_us);
/* True: this call is the trial of a half-open breaker. */
bool endpoint_taken(struct endpoint *e, uint64_t now_us);
void endpoint_outcome(struct endpoint *e, bool trial, enum endpoint_outcome outcome,
                      uint64_t now_us);
void health_publish(struct upstream *u);

#endif
