#include "access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "exchange.h"
#include "gate.h"

#define HAND_OVER_BYTES KIB(32)
#define FLUSH_AFTER MS(100)

/* The file: the main thread's, but for `waiting`. */
static struct {
    int fd;
    _Atomic size_t waiting; /* bytes handed over and not yet written */
} file = {.fd = -1};

/* A full buffer on its way to the main thread. */
struct parcel {
    struct mail mail;
    struct buf lines;
};

static void write_all(struct bytes b) {
    while (b.len > 0 && file.fd >= 0) {
        ssize_t n = write(file.fd, b.at, b.len);
        if (n < 0 && errno != EINTR)
            return;
        b = bytes_skip(b, n > 0 ? (size_t)n : 0);
    }
}

static void on_parcel(struct mail *m, void *owner) {
    struct parcel *p = list_object(m, struct parcel, mail);
    (void)owner;
    write_all(buf_bytes(&p->lines));
    atomic_fetch_sub(&file.waiting, p->lines.len);
    buf_free(&p->lines);
    free(p);
}

static uint64_t count_lines(struct bytes b) {
    uint64_t n = 0;
    for (size_t i = 0; i < b.len; i++)
        n += b.at[i] == '\n';
    return n;
}

static void hand_over(struct access_log *l) {
    struct parcel *p = NULL;
    timer_stop(&l->flush);
    if (l->lines.len == 0)
        return;
    size_t most = LOG_BUFFER_MAX * (size_t)(l->worker->gate->worker_count + 1);
    if (atomic_load(&file.waiting) + l->lines.len <= most)
        p = malloc(sizeof(*p));
    if (p == NULL) {
        stats_add(&l->worker->stats->counters[COUNT_access_log_dropped],
                  count_lines(buf_bytes(&l->lines)));
        buf_clear(&l->lines);
        return;
    }
    atomic_fetch_add(&file.waiting, l->lines.len);
    p->mail.run = on_parcel;
    p->lines = l->lines;
    buf_init(&l->lines, LOG_BUFFER_MAX);
    mailbox_post(&l->worker->gate->main.mail, &p->mail);
}

static void on_flush(struct timer *t) {
    hand_over(list_object(t, struct access_log, flush));
}

void access_log_init(struct access_log *l, struct worker *w) {
    l->worker = w;
    buf_init(&l->lines, LOG_BUFFER_MAX);
    timer_init(&l->flush, on_flush);
}

void access_log_close(struct access_log *l) {
    timer_stop(&l->flush);
    write_all(buf_bytes(&l->lines)); /* The worker's thread has ended: this is the main one. */
    buf_free(&l->lines);
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
    static const char *const names[] = {"refused", "infer", "live", "ready", "server_metadata",
                                        "model_metadata", "model_ready"};
    return names[ex->call.kind];
}

void access_log_add(struct access_log *l, const struct exchange *ex, uint64_t sent) {
    struct buf *b = &l->lines;
    char when[CLOCK_TEXT];
    if (ex->config->access_log.len == 0)
        return;
    clock_text(clock_wall_us(), when);
    add_text(b, "{\"time\":", bytes_str(when));
    add_number(b, ",\"status\":", ex->status);
    add_text(b, ",\"client\":", ex->client.pseudonym);
    add_text(b, ",\"tier\":", ex->client.tier);
    add_text(b, ",\"call\":", bytes_str(call_name(ex)));
    if (ex->model != NULL) {
        add_text(b, ",\"model\":", ex->call.model);
        add_text(b, ",\"policy\":", ex->policy->name);
        if (ex->policy->observe)
            buf_add_str(b, ",\"mode\":\"observe\"");
        add_number(b, ",\"rows\":", ex->query.rows);
    }
    add_decision(b, ex);
    add_text(b, ",\"policy_sha256\":", bytes_of(ex->config->sha256, 16));
    add_number(b, ",\"bytes_in\":", ex->front->body_bytes);
    add_number(b, ",\"bytes_out\":", sent);
    add_number(b, ",\"us\":", clock_us() - ex->front->began_us);
    if (ex->answered_us > 0)
        add_number(b, ",\"upstream_us\":", ex->answered_us - ex->sent_us);
    buf_add_str(b, "}\n");
    if (b->len >= HAND_OVER_BYTES)
        hand_over(l);
    else if (!timer_is_set(&l->flush))
        timer_set(&l->worker->timers, &l->flush, clock_us(), FLUSH_AFTER);
}

bool access_log_open_file(struct bytes path) {
    access_log_close_file();
    if (path.len == 0)
        return true;
    if (bytes_is(path, "-")) {
        file.fd = STDOUT_FILENO;
        return true;
    }
    file.fd = open(path.at, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (file.fd < 0)
        log_line(LOG_ERROR, "access log %s: %s", path.at, strerror(errno));
    return file.fd >= 0;
}

void access_log_close_file(void) {
    if (file.fd > STDERR_FILENO)
        close(file.fd);
    file.fd = -1;
}
