/* exchange.h - the life of one query, from its head to its answer.
 *
 *   head:  identify -> route                     then the body is read
 *   body:  decode -> gate -> forward ~~ the upstream answers ~~ shape -> reply
 *
 * Each step is a row of a table (exchange.c); a step goes on, waits (~~), or ends the exchange with
 * an answer.  An exchange lives in its request's arena, on one worker, under one policy version. */
#ifndef QG_EXCHANGE_H
#define QG_EXCHANGE_H

#include "chain.h"
#include "front.h"
#include "policy.h"
#include "randomness.h"
#include "timers.h"
#include "upstream.h"
#include "worker.h"

enum next { NEXT_MORE, NEXT_PARK, NEXT_DONE };

struct exchange_step {
    const char *name;
    enum next (*run)(struct exchange *);
};

struct exchange {
    uint32_t magic;
    struct worker *worker;
    struct front *front;
    struct arena *arena;
    struct config *config; /* a reference */
    const struct exchange_step *step;
    bool running; /* exchange_run is on the stack */

    struct client client;
    const struct codec *codec;
    struct call call;
    const struct model *model;   /* NULL for calls without one */
    const struct policy *policy; /* the one that applies */
    const struct policy *routed; /* the one that did at first, if a filter switched; else NULL */
    const struct upstream_conf *upstream;
    struct declared declared;

    struct message request; /* with the decoded body */
    struct query query;
    struct buf inflated, spill, inflated_answer;
    struct predictions predictions;
    struct outgoing out; /* to the upstream, then to the client */
    struct chain chain;
    struct exchange_random random;

    struct upstream *asked; /* a reference to the worker's */
    struct upstream_call *pending;
    struct timer deadline;
    uint64_t deadline_us, sent_us, answered_us;
    const struct http1_head *answer_head;
    struct bytes answer_body;

    /* How it ends. */
    unsigned status;
    uint32_t retry_after_ms;
    struct bytes reason;    /* for the client */
    const char *log_reason; /* static: for the log */
    const char *filter;     /* whose verdict ended it; NULL: nobody's */
    bool hang_up;           /* the connection ends with it */
    bool bad_token;         /* 401 for a bearer token that does not hold */
    bool budgeted;          /* a budget was asked */
    double budget_share;    /* what is spent of it */
};

extern const struct front_handler exchange_handler;

/* From its step on, until it waits or ends; then it may be gone.  And: is that what it does? */
void exchange_run(struct exchange *);
bool exchange_is_parked(const struct exchange *);

/* exchange_route.c */
enum next step_identify(struct exchange *);
enum next step_route(struct exchange *);

/* exchange_gate.c: the filters see the query, under the policies that they switch to. */
enum next step_gate(struct exchange *);

/* exchange_relay.c: a message as it came, for a policy that does not look inside.  (A request's
 * path was matched by the protocol's allow-list, so it is canonical.) */
enum codec_status exchange_relay(struct arena *, const struct message *in, struct outgoing *out);

/* exchange_answer.c */
enum next step_shape(struct exchange *);
enum next step_reply(struct exchange *);
enum next exchange_refuse(struct exchange *, unsigned status, const char *reason);
enum next exchange_refuse_codec(struct exchange *, enum codec_status, const struct codec_error *,
                                bool answer);
void exchange_goto_reply(struct exchange *);

#endif
