/* upstream.h - a worker's view of one upstream: its endpoints, their health, and the calls to them.
 *
 * A call goes to the endpoint with the fewest pending calls among those that are up; a connection
 * is reused where one is idle.  It is tried again only while not a byte of it was sent. */
#ifndef QG_UPSTREAM_H
#define QG_UPSTREAM_H

#include "http1.h"
#include "stats.h"
#include "worker.h"

struct upstream;
struct upstream_call;

/* Makes w's upstreams those of its config: unchanged ones are kept with their connections and
 * health, new ones made, others retired (they end with their last call). */
MUST bool upstreams_apply(struct worker *w);
void upstreams_close(struct worker *w);

/* A reference to w's upstream for this row of w's config, for upstream_release: with it a query is
 * served to its end even if a reload retires the upstream.  NULL: out of memory when it was made.
 */
struct upstream *upstream_hold(struct worker *w, const struct upstream_conf *conf);
void upstream_release(struct upstream *u);

struct upstream_request {
    const char *method;
    const struct outgoing *out; /* lives until the call ends */
    struct bytes trace;         /* header lines to pass on, each with CRLF; may be empty */
    uint64_t deadline_us;       /* clock_us() when the answer is of no more use */
    struct arena *arena;        /* for the answer; outlives the call */
    struct buf *spill;          /* for a chunked answer: the caller's, with the cap it allows */
    uint64_t max_answer;
};

/* result is one of enum upstream_counter; head and body are set for OK, ERROR and REFUSED when the
 * upstream answered, and borrow from the request's arena and spill (body with BODY_PADDING). */
typedef void upstream_done_fn(void *cookie, enum upstream_counter result,
                              const struct http1_head *head, struct bytes body);

/* Starts a call.  done is called once, never before this returns, unless upstream_cancel came
 * first.  NULL: not started; *why says which result that is. */
struct upstream_call *upstream_start(struct upstream *u, const struct upstream_request *r,
                                     upstream_done_fn *done, void *cookie,
                                     enum upstream_counter *why);
void upstream_cancel(struct upstream_call *call);

/* "http://..." of the endpoint that is or was asked last; for the log. */
struct bytes upstream_call_endpoint(const struct upstream_call *call);

#endif
