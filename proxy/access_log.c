#include "access_log.h"

#include "base/clock.h"
#include "base/limits.h"
#include "exchange.h"
#include "gate.h"
#include "log_file.h"

#define HAND_OVER_BYTES KIB(32)
#define FLUSH_AFTER     MS(100)

static void hand_over(struct access_log *l) {
    timer_stop(&l->flush);
    if (l->lines.len == 0)
        return;
    struct gate *g = l->worker->gate;
    if (!log_file_write(g->access_log, &l->lines, LOG_BUFFER_MAX * (size_t)g->worker_count))
        stats_add(&l->worker->stats->counters[COUNT_access_log_dropped], l->count);
    l->count = 0;
}

static void on_flush(struct timer *t) {
    hand_over(list_object(t, struct access_log, flush));
}

void access_log_init(struct access_log *l, struct worker *w) {
    l->worker = w;
    l->count = 0;
    buf_init(&l->lines, LOG_BUFFER_MAX);
    timer_init(&l->flush, on_flush);
}

void access_log_close(struct access_log *l) {
    hand_over(l);
    buf_free(&l->lines);
}

/* v is a name whose letters were checked (a policy's, a model's) or a word of ours: nothing in it
 * needs an escape. */
static void add_word(struct buf *b, const char *name, struct bytes v) {
    if (v.len == 0)
        return;
    buf_add_str(b, name);
    buf_add_char(b, '"');
    buf_add_bytes(b, v);
    buf_add_char(b, '"');
}

static void add_text(struct buf *b, const char *name, struct bytes v) {
    if (v.len == 0)
        return;
    buf_add_str(b, name);
    buf_add_json(b, v);
}

static void add_number(struct buf *b, const char *name, uint64_t v) {
    buf_add_str(b, name);
    buf_add_u64(b, v);
}

static void add_decision(struct buf *b, const struct exchange *ex) {
    const struct chain *c = &ex->chain;
    if (ex->log_reason != NULL)
        add_text(b, ",\"reason\":", bytes_str(ex->log_reason));
    if (ex->filter != NULL)
        add_text(b, ",\"filter\":", bytes_str(ex->filter));
    for (uint32_t i = 0; i < c->observed_count; i++) {
        buf_add_str(b, i == 0 ? ",\"would_refuse\":[" : ",");
        buf_add_json(b, bytes_str(c->observed[i]));
    }
    if (c->observed_count > 0)
        buf_add_char(b, ']');
}

static const char *call_name(const struct exchange *ex) {
    static const char *const names[] = {"refused",         "infer",          "live",       "ready",
                                        "server_metadata", "model_metadata", "model_ready"};
    return names[ex->call.kind];
}

/* A line's first and last words. */
static void line_begin(struct buf *b, unsigned status, struct bytes client) {
    char when[CLOCK_TEXT];
    clock_text(clock_wall_us(), when);
    add_word(b, "{\"time\":", bytes_str(when));
    add_number(b, ",\"status\":", status);
    add_word(b, ",\"client\":", client);
}

static void line_end(struct access_log *l) {
    buf_add_str(&l->lines, "}\n");
    l->count++;
    if (l->lines.len >= HAND_OVER_BYTES)
        hand_over(l);
    else if (!timer_is_set(&l->flush))
        timer_set(&l->worker->timers, &l->flush, worker_now(l->worker), FLUSH_AFTER);
}

void access_log_add(struct access_log *l, const struct exchange *ex, uint64_t took_us,
                    uint64_t sent) {
    struct buf *b = &l->lines;
    if (ex->config->access_log.len == 0)
        return;
    line_begin(b, ex->status, ex->client.pseudonym);
    add_text(b, ",\"tier\":", ex->client.tier);
    add_word(b, ",\"call\":", bytes_str(call_name(ex)));
    if (ex->model != NULL) {
        add_word(b, ",\"model\":", ex->call.model);
        add_word(b, ",\"policy\":", ex->policy->name);
        if (ex->routed != NULL)
            add_word(b, ",\"switched_from\":", ex->routed->name);
        if (ex->budgeted)
            buf_printf(b, ",\"budget_spent\":%.6f", ex->budget_share);
        if (ex->policy->observe)
            buf_add_str(b, ",\"mode\":\"observe\"");
        add_number(b, ",\"rows\":", ex->query.rows);
    }
    add_decision(b, ex);
    add_word(b, ",\"policy_sha256\":", bytes_of(ex->config->sha256, 16));
    add_number(b, ",\"bytes_in\":", ex->front->body_bytes);
    add_number(b, ",\"bytes_out\":", sent);
    add_number(b, ",\"us\":", took_us);
    if (ex->answered_us > 0)
        add_number(b, ",\"upstream_us\":", ex->answered_us - ex->sent_us);
    line_end(l);
}

void access_log_refusal(struct access_log *l, const struct config *config, struct bytes client,
                        unsigned status, const char *reason) {
    if (config->access_log.len == 0)
        return;
    line_begin(&l->lines, status, client);
    add_text(&l->lines, ",\"reason\":", bytes_str(reason));
    add_word(&l->lines, ",\"policy_sha256\":", bytes_of(config->sha256, 16));
    line_end(l);
}
