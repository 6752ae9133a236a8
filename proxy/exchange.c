#include "exchange.h"

#include "base/clock.h"
#include "base/require.h"
#include "gate.h"
#include "inflate.h"

#define EXCHANGE_MAGIC 0x45584348u

static enum next step_decode(struct exchange *);
static enum next step_forward(struct exchange *);

/* The walk of one query.  A step that says MORE goes on with the row below it. */
static const struct exchange_step steps[] = {
    {"identify", step_identify}, {"route", step_route},     {"decode", step_decode},
    {"gate", step_gate},         {"forward", step_forward}, {"shape", step_shape},
    {"reply", step_reply},
};
enum { STEPS = sizeof(steps) / sizeof(steps[0]) };

/* After this returns the exchange may be gone. */
void exchange_run(struct exchange *ex) {
    enum next n;
    require(!ex->running);
    ex->running = true;
    do {
        require(ex->magic == EXCHANGE_MAGIC && ex->step < steps + STEPS);
        const struct exchange_step *now = ex->step;
        ex->step = now + 1;
        n = now->run(ex);
        if (n == NEXT_PARK)
            ex->running = false;
    } while (n == NEXT_MORE);
}

bool exchange_is_parked(const struct exchange *ex) {
    return ex->magic == EXCHANGE_MAGIC && !ex->running;
}

void exchange_goto_reply(struct exchange *ex) {
    ex->step = &steps[STEPS - 1];
}

static void on_deadline(struct timer *t) {
    struct exchange *ex = list_object(t, struct exchange, deadline);
    if (ex->pending != NULL)
        return; /* The upstream call has the same deadline and says so itself. */
    bool waiting_for_body = ex->step == &steps[2];
    ex->running = true;
    exchange_refuse(ex, waiting_for_body ? 408 : 504,
                    waiting_for_body ? "the request came too slowly" : "no answer in time");
    step_reply(ex);
}

/* The body has the upstream's timeout to come, and then the answer has it: a client that takes its
 * time with the body leaves the upstream no less. */
static void set_deadline(struct exchange *ex) {
    uint64_t now = worker_now(ex->worker);
    ex->deadline_us = now + ex->upstream->timeout;
    timer_set(&ex->worker->timers, &ex->deadline, now, ex->upstream->timeout);
}

/* True: the body is wanted. */
static bool on_head(struct front *f) {
    struct worker *w = f->worker;
    struct exchange *ex = arena_new_array(f->arena, struct exchange, 1);
    if (ex == NULL) {
        front_reply_text(f, 503, "application/json",
                         BYTES_LITERAL("{\"error\":\"out of memory\"}"));
        return false;
    }
    ex->magic = EXCHANGE_MAGIC;
    ex->worker = w;
    ex->front = f;
    ex->arena = f->arena;
    ex->config = config_ref(w->config);
    ex->codec = codecs_all[0];
    ex->step = steps;
    timer_init(&ex->deadline, on_deadline);
    buf_init(&ex->inflated, ex->config->limits.max_body + BODY_PADDING + 1);
    buf_init(&ex->spill, ex->config->limits.max_answer + BODY_PADDING);
    buf_init(&ex->inflated_answer, ex->config->limits.max_answer + BODY_PADDING + 1);
    f->call = ex;
    exchange_run(ex);
    if (f->call != ex || ex->step != &steps[2])
        return false; /* Answered already; and perhaps gone. */
    set_deadline(ex);
    return true;
}

static void on_body(struct front *f, struct bytes body) {
    struct exchange *ex = f->call;
    stats_add(&ex->worker->stats->counters[COUNT_request_body_bytes], f->body_bytes);
    ex->request = f->head->message;
    ex->request.body = body;
    set_deadline(ex);
    exchange_run(ex);
}

/* Undoes a content coding.  False: refused. */
static bool decode_content(struct exchange *ex) {
    struct bytes coding;
    bool coded = false;
    if (!message_header(&ex->request, "Content-Encoding", &coding)) {
        if (!message_has(&ex->request, "Content-Encoding"))
            return true;
        exchange_refuse(ex, 415, "more than one content coding");
        return false;
    }
    if (!ex->config->limits.compressed_bodies && !bytes_is_nocase(coding, "identity")) {
        exchange_refuse(ex, 415, "compressed bodies are not accepted here");
        return false;
    }
    switch (inflate_body(coding, ex->request.body, &ex->inflated, &coded)) {
    case INFLATE_OK:
        if (coded)
            ex->request.body = buf_bytes(&ex->inflated);
        return true;
    case INFLATE_BAD:
        exchange_refuse(ex, 400, "the compressed body is broken");
        return false;
    case INFLATE_TOO_BIG:
        exchange_refuse(ex, 413, "the body is too large when decompressed");
        return false;
    default:
        exchange_refuse(ex, 415, "content codings other than gzip and deflate are not accepted");
        return false;
    }
}

/* What a batch costs, when the model's row rule is not the codec's. */
static void count_rows(struct exchange *ex) {
    struct query *q = &ex->query;
    if (ex->model->rows == ROWS_ONE)
        q->rows = 1;
    for (uint32_t i = 0; i < q->input_count && ex->model->rows == ROWS_FIRST; i++)
        if (q->inputs[i].rank > 0 && q->inputs[i].shape[0] > q->rows)
            q->rows =
                q->inputs[i].shape[0] < UINT32_MAX ? (uint32_t)q->inputs[i].shape[0] : UINT32_MAX;
    stats_add(&ex->worker->stats->counters[COUNT_queries], q->rows);
}

static enum next step_decode(struct exchange *ex) {
    struct codec_error error = {""};
    if (ex->call.kind != CALL_INFER)
        return NEXT_MORE;
    if (!decode_content(ex))
        return NEXT_MORE;
    if (ex->policy->relay) {
        ex->query = (struct query){.model = ex->call.model, .version = ex->call.version, .rows = 1};
        return NEXT_MORE;
    }
    enum codec_status s = ex->codec->decode_query(ex->arena, &ex->request, &ex->call, &ex->declared,
                                                  &ex->query, &error);
    if (s != CODEC_OK)
        return exchange_refuse_codec(ex, s, &error, false);
    count_rows(ex);
    return NEXT_MORE;
}

/* A traceparent that is one goes on to the upstream; nothing else of the client's head does. */
static struct bytes trace_headers(struct exchange *ex) {
    static const char shape[] = "xx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx";
    struct bytes v;
    if (!message_header(&ex->request, "traceparent", &v) || v.len != sizeof(shape) - 1)
        return bytes_of(NULL, 0);
    for (size_t i = 0; i < v.len; i++) {
        bool hex = (v.at[i] >= '0' && v.at[i] <= '9') || (v.at[i] >= 'a' && v.at[i] <= 'f');
        if (shape[i] == 'x' ? !hex : v.at[i] != '-')
            return bytes_of(NULL, 0);
    }
    return arena_printf(ex->arena, "traceparent: %.*s\r\n", (int)v.len, v.at);
}

static void on_answer(void *cookie, enum upstream_counter result, const struct http1_head *head,
                      struct bytes body) {
    struct exchange *ex = cookie;
    ex->pending = NULL;
    ex->answered_us = clock_us();
    ex->answer_head = head;
    ex->answer_body = body;
    if (head == NULL && result == UPSTREAM_TIMEOUT)
        exchange_refuse(ex, 504, "the model server did not answer in time");
    else if (head == NULL)
        exchange_refuse(ex, 502, "the model server could not be reached or broke off its answer");
    exchange_run(ex);
}

static enum codec_status encode(struct exchange *ex, struct codec_error *error) {
    if (ex->call.kind != CALL_INFER)
        return ex->codec->encode_call(ex->arena, &ex->call, &ex->out);
    if (ex->policy->relay)
        return exchange_relay(ex->arena, &ex->request, &ex->out);
    return ex->codec->encode_query(ex->arena, &ex->query, &ex->declared, &ex->out, error);
}

static enum next step_forward(struct exchange *ex) {
    struct codec_error error = {""};
    enum codec_status s = encode(ex, &error);
    if (s != CODEC_OK)
        return exchange_refuse_codec(ex, s, &error, false);
    struct upstream_request r = {.method = ex->call.kind == CALL_INFER ? "POST" : "GET",
                                 .out = &ex->out,
                                 .trace = trace_headers(ex),
                                 .deadline_us = ex->deadline_us,
                                 .arena = ex->arena,
                                 .spill = &ex->spill,
                                 .max_answer = ex->config->limits.max_answer};
    enum upstream_counter why = UPSTREAM_BUSY;
    ex->sent_us = clock_us();
    ex->pending = upstream_start(ex->asked, &r, on_answer, ex, &why);
    if (ex->pending != NULL)
        return NEXT_PARK;
    ex->retry_after_ms = 1000;
    return exchange_refuse(ex, why == UPSTREAM_CONNECT ? 502 : 503,
                           why == UPSTREAM_CONNECT
                               ? "the model server could not be reached or broke off its answer"
                               : "no model server can take the query now");
}

/* Ends what is under way; the client is not answered any more. */
static void stop(struct exchange *ex) {
    timer_stop(&ex->deadline);
    chain_close(&ex->chain);
    if (ex->pending != NULL)
        upstream_cancel(ex->pending);
    ex->pending = NULL;
}

static void on_gone(struct front *f, unsigned status, const char *reason) {
    struct exchange *ex = f->call;
    require(ex->magic == EXCHANGE_MAGIC);
    stop(ex);
    ex->status = status;
    ex->log_reason = reason;
}

static void on_ended(struct front *f, uint64_t sent) {
    struct exchange *ex = f->call;
    uint64_t took = clock_us() - f->began_us;
    stop(ex);
    stats_answer(ex->worker->stats, ex->status, took);
    access_log_add(&ex->worker->log, ex, took, sent);
    buf_free(&ex->inflated);
    buf_free(&ex->spill);
    buf_free(&ex->inflated_answer);
    upstream_release(ex->asked);
    config_unref(ex->config);
    ex->magic = 0;
}

const struct front_handler exchange_handler = {
    .head = on_head, .body = on_body, .gone = on_gone, .ended = on_ended};
