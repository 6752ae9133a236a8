#include "admin.h"

#include "alert.h"
#include "base/limits.h"
#include "gate.h"

#define PAGE_BYTES_MAX MIB(4)

struct page {
    const char *path, *type;
    /* Writes the body; the status. */
    unsigned (*make)(struct gate *g, struct buf *out);
};

static unsigned page_health(struct gate *g, struct buf *out) {
    (void)g;
    buf_add_str(out, "{\"status\":\"alive\"}\n");
    return 200;
}

static unsigned page_ready(struct gate *g, struct buf *out) {
    const char *status = gate_draining(g)             ? "draining"
                         : stores_starting(g->stores) ? "starting"
                                                      : "ready";
    buf_printf(out, "{\"status\":\"%s\"}\n", status);
    return bytes_is(bytes_str(status), "ready") ? 200 : 503;
}

static unsigned page_metrics(struct gate *g, struct buf *out) {
    struct stats *all[WORKERS_MAX];
    for (unsigned i = 0; i < g->worker_count; i++)
        all[i] = g->workers[i].stats;
    const struct alert_counts alerts = alert_counts();
    const struct stats_gauges gauges = {.connections = peers_total(g->peers),
                                        .workers = g->worker_count,
                                        .alerts = alerts.raised,
                                        .alerts_dropped = alerts.dropped,
                                        .reload_ok = g->reload_ok,
                                        .reloads = g->reloads,
                                        .reload_failures = g->reload_failures,
                                        .store_up = stores_up(g->stores),
                                        .config_sha256 = g->config->sha256};
    stats_print(all, g->worker_count, &gauges, out);
    return 200;
}

static unsigned page_config(struct gate *g, struct buf *out) {
    config_print(g->config, out);
    return 200;
}

static const struct page pages[] = {
    {"/healthz", "application/json", page_health},
    {"/readyz", "application/json", page_ready},
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", page_metrics},
    {"/config", "application/json", page_config},
};

static const struct page *find(struct bytes path) {
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
        if (bytes_is(path, pages[i].path))
            return &pages[i];
    return NULL;
}

static bool on_head(struct front *f) {
    const struct message *m = &f->head->message;
    const struct page *page = find(m->path);
    if (page != NULL && bytes_is(m->method, "POST"))
        front_reply_text(f, 405, "application/json", BYTES_LITERAL("{\"error\":\"GET only\"}"));
    else if (page == NULL)
        front_reply_text(f, 404, "application/json", BYTES_LITERAL("{\"error\":\"no such page\"}"));
    else
        return true;
    return false;
}

static void on_body(struct front *f, struct bytes body) {
    const struct page *page = find(f->head->message.path);
    struct buf out;
    (void)body;
    buf_init(&out, PAGE_BYTES_MAX);
    unsigned status = page->make(f->worker->gate, &out);
    struct bytes text = out.failed ? bytes_of(NULL, 0) : arena_copy(f->arena, buf_bytes(&out));
    buf_free(&out);
    front_reply_text(f, text.at != NULL ? status : 503, page->type, text);
}

/* A page is made in one go: there is nothing to stop or to end. */
static void on_gone(struct front *f, unsigned status, const char *reason) {
    (void)f, (void)status, (void)reason;
}

static void on_ended(struct front *f, uint64_t sent) {
    (void)f, (void)sent;
}

const struct front_handler admin_handler = {
    .head = on_head, .body = on_body, .gone = on_gone, .ended = on_ended};
