#include "alert.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "alert_private.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/require.h"
#include "log_file.h"
#include "policy.h"
#include "worker.h"

#define GATHER_TIME  SECONDS(10)
#define GATHER_LISTS 256 /* of the table of what is being gathered */

/* An alert as it was raised. */
struct note {
    struct list link;
    struct alert alert;
    uint64_t wall_us;
    char client[PSEUDONYM_MAX], model[MODEL_NAME_MAX + 1];
};

/* Notes alike that came after one that was delivered. */
struct gathered {
    struct list link;
    struct timer end;
    struct note last;
    uint64_t count, first_us;
};

struct sink {
    struct bytes path; /* in the configuration that is held */
    const struct alert_format *format;
    struct log_file *file;
};

static struct {
    pthread_mutex_t lock;
    struct list notes; /* raised, oldest first */
    unsigned waiting;  /* in it */
    bool called;       /* wake is under way */
    bool open;
    struct alert_counts counts;

    /* The main thread's own. */
    struct worker *main;
    struct mail wake;
    struct config *config; /* what the sinks are of */
    struct sink sinks[ALERT_SINKS_MAX];
    uint32_t sink_count;
    struct list gathered[GATHER_LISTS];
    unsigned gathered_count;
    struct hash_key hash_key;
    uint64_t sequence;
    char gate[CONFIG_NAME_MAX + 1];
} alerts = {.lock = PTHREAD_MUTEX_INITIALIZER};

const struct alert_format *const alert_formats[] = {
#define ALERT_FORMAT(name) &alert_##name,
#include "alert_formats.def"
#undef ALERT_FORMAT
    NULL};

/* ---- Raising ---- */

/* Names longer than they can be are cut. */
static struct bytes keep(char *to, size_t room, struct bytes text) {
    size_t len = text.len < room ? text.len : room;
    if (len > 0)
        memcpy(to, text.at, len);
    return bytes_of(to, len);
}

static void note_copy(struct note *to, const struct alert *a, uint64_t wall_us) {
    to->alert = *a;
    to->wall_us = wall_us;
    to->alert.client = keep(to->client, sizeof(to->client), a->client);
    to->alert.model = keep(to->model, sizeof(to->model), a->model);
}

static void drop(uint64_t count) {
    pthread_mutex_lock(&alerts.lock);
    alerts.counts.dropped += count;
    pthread_mutex_unlock(&alerts.lock);
}

void alert_raise(const struct alert *a) {
    struct note *n = malloc(sizeof(*n));
    require(a->fact_count <= ALERT_FACTS_MAX);
    if (n != NULL)
        note_copy(n, a, clock_wall_us());
    pthread_mutex_lock(&alerts.lock);
    alerts.counts.raised++;
    if (alerts.open && n != NULL && alerts.waiting < ALERTS_WAITING_MAX) {
        list_push(&alerts.notes, &n->link);
        alerts.waiting++;
        if (!alerts.called)
            mailbox_post(&alerts.main->mail, &alerts.wake);
        alerts.called = true;
        n = NULL;
    } else if (alerts.open) {
        alerts.counts.dropped++;
    }
    pthread_mutex_unlock(&alerts.lock);
    free(n);
}

struct alert_counts alert_counts(void) {
    pthread_mutex_lock(&alerts.lock);
    struct alert_counts now = alerts.counts;
    pthread_mutex_unlock(&alerts.lock);
    return now;
}

/* ---- Delivering ---- */

static void deliver(const struct note *n, uint64_t count, uint64_t first_us) {
    struct alert_event e = {.alert = n->alert,
                            .count = count,
                            .sequence = ++alerts.sequence,
                            .first_us = first_us,
                            .last_us = n->wall_us,
                            .gate = alerts.gate};
    char policy[17] = "";
    memcpy(policy, alerts.config->sha256, sizeof(policy) - 1);
    e.policy_sha256 = policy;
    alert_id(n->wall_us / 1000, e.id);
    for (uint32_t i = 0; i < alerts.sink_count; i++) {
        struct buf line;
        buf_init(&line, ALERT_BYTES_MAX);
        alerts.sinks[i].format->encode(&e, &line);
        if (line.failed || !log_file_write(alerts.sinks[i].file, &line, ALERT_BUFFER_MAX))
            drop(count);
        buf_free(&line);
    }
}

/* ---- Gathering ---- */

static bool alike(const struct alert *a, const struct alert *b) {
    return strcmp(a->rule, b->rule) == 0 && strcmp(a->text, b->text) == 0 &&
           bytes_eq(a->client, b->client) && bytes_eq(a->model, b->model);
}

static struct list *list_of(const struct alert *a) {
    return &alerts.gathered[hash_bytes(&alerts.hash_key, a->client) % GATHER_LISTS];
}

static void gathered_deliver(struct gathered *g) {
    if (g->count > 0)
        deliver(&g->last, g->count, g->first_us);
    g->count = 0;
}

static void gathered_free(struct gathered *g) {
    timer_stop(&g->end);
    list_remove(&g->link);
    alerts.gathered_count--;
    free(g);
}

/* While they keep coming, one each GATHER_TIME. */
static void on_gathered(struct timer *t) {
    struct gathered *g = list_object(t, struct gathered, end);
    bool quiet = g->count == 0;
    gathered_deliver(g);
    if (quiet)
        gathered_free(g);
    else
        timer_set(&alerts.main->timers, &g->end, clock_us(), GATHER_TIME);
}

/* When too many are being gathered, n's like are delivered one by one. */
static void gather_after(const struct note *n) {
    struct gathered *g = alerts.gathered_count < ALERTS_GATHERED_MAX ? calloc(1, sizeof(*g)) : NULL;
    if (g == NULL)
        return;
    note_copy(&g->last, &n->alert, n->wall_us);
    timer_init(&g->end, on_gathered);
    timer_set(&alerts.main->timers, &g->end, clock_us(), GATHER_TIME);
    list_push(list_of(&n->alert), &g->link);
    alerts.gathered_count++;
}

static void take_note(const struct note *n) {
    struct list *list = list_of(&n->alert);
    if (n->alert.client.len > 0)
        for (struct list *at = list->next; at != list; at = at->next) {
            struct gathered *g = list_object(at, struct gathered, link);
            if (!alike(&g->last.alert, &n->alert))
                continue;
            if (g->count++ == 0)
                g->first_us = n->wall_us;
            note_copy(&g->last, &n->alert, n->wall_us);
            return;
        }
    deliver(n, 1, n->wall_us);
    if (n->alert.client.len > 0)
        gather_after(n);
}

static struct note *next_note(void) {
    struct note *n = NULL;
    pthread_mutex_lock(&alerts.lock);
    if (!list_empty(&alerts.notes)) {
        n = list_object(alerts.notes.next, struct note, link);
        list_remove(&n->link);
        alerts.waiting--;
    } else {
        alerts.called = false;
    }
    pthread_mutex_unlock(&alerts.lock);
    return n;
}

static void take_notes(void) {
    struct note *n;
    while ((n = next_note()) != NULL) {
        take_note(n);
        free(n);
    }
}

static void on_wake(struct mail *m, void *owner) {
    (void)m, (void)owner;
    if (alerts.open)
        take_notes();
}

/* ---- Opening ---- */

static struct sink *sink_at(struct bytes path) {
    for (uint32_t i = 0; i < alerts.sink_count; i++)
        if (bytes_eq(alerts.sinks[i].path, path))
            return &alerts.sinks[i];
    return NULL;
}

static void name_gate(const struct config *c) {
    struct bytes name = c->alerts.instance;
    if (name.len > 0)
        snprintf(alerts.gate, sizeof(alerts.gate), "%.*s", (int)name.len, name.at);
    else if (gethostname(alerts.gate, sizeof(alerts.gate)) != 0)
        snprintf(alerts.gate, sizeof(alerts.gate), "unknown");
    alerts.gate[sizeof(alerts.gate) - 1] = '\0'; /* gethostname may cut it off */
}

/* A file that was written before is opened again under its writer, so that no line is lost or out
 * of order. */
static bool open_sinks(const struct config *c, struct sink *out) {
    for (uint32_t i = 0; i < c->alerts.sink_count; i++) {
        const struct alert_sink_conf *conf = &c->alerts.sinks[i];
        const struct sink *before = sink_at(conf->path);
        out[i] = (struct sink){conf->path, alert_formats[conf->format],
                               before != NULL ? before->file : log_file_new("alerts")};
        if (out[i].file == NULL || !log_file_open(out[i].file, conf->path))
            return false;
    }
    return true;
}

/* Closes those of the sinks whose file none of the others writes. */
static void close_sinks(const struct sink *sinks, uint32_t count, const struct sink *others,
                        uint32_t other_count) {
    for (uint32_t i = 0; i < count; i++) {
        bool kept = false;
        for (uint32_t k = 0; k < other_count; k++)
            kept = kept || others[k].file == sinks[i].file;
        if (!kept)
            log_file_free(sinks[i].file);
    }
}

bool alert_reload(const struct config *c) {
    struct sink sinks[ALERT_SINKS_MAX] = {0};
    uint32_t count = c->alerts.sink_count;
    require(count <= ALERT_SINKS_MAX);
    if (!open_sinks(c, sinks)) {
        close_sinks(sinks, count, alerts.sinks, alerts.sink_count);
        return false;
    }
    close_sinks(alerts.sinks, alerts.sink_count, sinks, count);
    memcpy(alerts.sinks, sinks, sizeof(sinks));
    alerts.sink_count = count;
    if (alerts.config != NULL)
        config_unref(alerts.config);
    alerts.config = config_ref((struct config *)c);
    name_gate(c);
    return true;
}

bool alert_open(struct worker *main, const struct config *c) {
    list_init(&alerts.notes);
    for (unsigned i = 0; i < GATHER_LISTS; i++)
        list_init(&alerts.gathered[i]);
    alerts.hash_key = crypto_hash_key();
    alerts.wake = (struct mail){.run = on_wake};
    alerts.main = main;
    if (!alert_reload(c))
        return false;
    pthread_mutex_lock(&alerts.lock);
    alerts.open = true;
    pthread_mutex_unlock(&alerts.lock);
    return true;
}

void alert_close(void) {
    pthread_mutex_lock(&alerts.lock);
    alerts.open = false;
    pthread_mutex_unlock(&alerts.lock);
    take_notes();
    for (unsigned i = 0; i < GATHER_LISTS; i++)
        while (!list_empty(&alerts.gathered[i])) {
            struct gathered *g = list_object(alerts.gathered[i].next, struct gathered, link);
            gathered_deliver(g);
            gathered_free(g);
        }
    close_sinks(alerts.sinks, alerts.sink_count, NULL, 0);
    alerts.sink_count = 0;
    if (alerts.config != NULL)
        config_unref(alerts.config);
    alerts.config = NULL;
}
