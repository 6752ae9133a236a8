/* alert_ecs.c - one line of JSON in the Elastic Common Schema (8.17). */
#include "alert_private.h"
#include "base/clock.h"

static void add_time(struct buf *out, const char *name, uint64_t wall_us) {
    char text[CLOCK_TEXT];
    clock_text(wall_us, text);
    buf_printf(out, "\"%s\":\"%s\"", name, text);
}

static void add_text(struct buf *out, const char *name, struct bytes value) {
    buf_printf(out, "\"%s\":", name);
    buf_add_json(out, value);
}

static void add_event(struct buf *out, const struct alert_event *e) {
    /* The schema has these categories; an alert without a client is about the gate itself. */
    bool about_client = e->alert.client.len > 0;
    static const unsigned char severity[] = {[ALERT_INFO] = 1,
                                             [ALERT_LOW] = 3,
                                             [ALERT_MEDIUM] = 5,
                                             [ALERT_HIGH] = 8,
                                             [ALERT_CRITICAL] = 10};
    buf_printf(out,
               "\"event\":{\"id\":\"%s\",\"kind\":\"alert\",\"category\":[\"%s\"],"
               "\"type\":[\"info\"],\"module\":\"querygate\",\"dataset\":\"querygate.alert\","
               "\"severity\":%u,\"sequence\":%llu,",
               e->id, about_client ? "intrusion_detection" : "process", severity[e->alert.severity],
               (unsigned long long)e->sequence);
    add_time(out, "created", e->last_us);
    if (e->count > 1) {
        buf_add_char(out, ',');
        add_time(out, "start", e->first_us);
        buf_add_char(out, ',');
        add_time(out, "end", e->last_us);
    }
    buf_add_char(out, '}');
}

/* Labels are the schema's place for what it has no field for; their values are strings. */
static void add_labels(struct buf *out, const struct alert_event *e) {
    buf_printf(out, "\"labels\":{\"policy_sha\":\"%s\",\"cnt\":\"%llu\"", e->policy_sha256,
               (unsigned long long)e->count);
    for (uint32_t i = 0; i < e->alert.fact_count; i++)
        buf_printf(out, ",\"%s\":\"%llu\"", e->alert.facts[i].name,
                   (unsigned long long)e->alert.facts[i].value);
    buf_add_char(out, '}');
}

static void encode(const struct alert_event *e, struct buf *out) {
    const struct alert *a = &e->alert;
    buf_add_char(out, '{');
    add_time(out, "@timestamp", e->last_us);
    buf_add_str(out, ",\"ecs\":{\"version\":\"8.17.0\"},");
    add_text(out, "message", bytes_str(a->text));
    buf_add_char(out, ',');
    add_event(out, e);
    buf_add_str(out, ",\"rule\":{");
    add_text(out, "id", bytes_str(a->rule));
    buf_add_str(out, "},");
    if (a->client.len > 0) {
        buf_add_str(out, "\"user\":{");
        add_text(out, "hash", a->client);
        buf_add_str(out, "},");
    }
    if (a->model.len > 0) {
        buf_add_str(out, "\"service\":{");
        add_text(out, "name", a->model);
        buf_add_str(out, "},");
    }
    buf_add_str(out, "\"observer\":{\"product\":\"querygate\",\"version\":\"" QG_VERSION
                     "\",\"type\":\"proxy\",");
    add_text(out, "hostname", bytes_str(e->gate));
    buf_add_str(out, "},");
    add_labels(out, e);
    buf_add_str(out, "}\n");
}

const struct alert_format alert_ecs = {.name = "ecs", .encode = encode};
