/* config_alerts.c - the section `alerts`: where alerts go, and how they look there. */
#include "base/limits.h"
#include "config_private.h"

static const char *const format_words[] = {
#define ALERT_FORMAT(name) #name,
#include "alert_formats.def"
#undef ALERT_FORMAT
    NULL};

static const struct option file_rows[] = {
    {.name = "path",
     .type = OPTION_FILE,
     .offset = offsetof(struct alert_sink_conf, path),
     .required = true,
     .says = "The file, one alert a line; SIGHUP opens it again, so it may be renamed before."},
    {.name = "format",
     .type = OPTION_WORD,
     .offset = offsetof(struct alert_sink_conf, format),
     .words = format_words,
     .fallback = "ecs",
     .says = "ecs: JSON in the Elastic Common Schema."},
    {.type = OPTION_END},
};

static const struct option sink_rows[] = {
    {.name = "file",
     .type = OPTION_SECTION,
     .offset = offsetof(struct alert_sink_file, file),
     .required = true,
     .rows = file_rows,
     .says = "Append alerts to a file."},
    {.type = OPTION_END},
};

const struct option config_alert_rows[] = {
    {.name = "instance",
     .type = OPTION_STRING,
     .offset = offsetof(struct alerts_file, instance),
     .says = "This gate's name in its alerts. Absent: the host's name."},
    {.name = "sinks",
     .type = OPTION_LIST,
     .offset = offsetof(struct alerts_file, sinks),
     .required = true,
     .min = 1,
     .max = ALERT_SINKS_MAX,
     .rows = sink_rows,
     .element_size = sizeof(struct alert_sink_file),
     .says = "Where alerts go: each alert to each of them."},
    {.type = OPTION_END},
};

void config_link_alerts(struct reading *r) {
    const struct alerts_file *file = &r->file->alerts;
    const struct alert_sink_file *from = file->sinks.at;
    const struct yaml_node *alerts = config_at(r->root, "alerts"),
                           *n = config_at(alerts, "sinks")->first;
    struct alert_sink_conf *all = config_array(r, file->sinks.count, sizeof(*all));
    if (all == NULL)
        return;
    config_check_name(r, config_at(alerts, "instance"), file->instance);
    r->c->alerts.instance = file->instance;
    r->c->alerts.sinks = all;
    for (uint32_t i = 0; i < file->sinks.count; i++, n = n->next) {
        const struct yaml_node *path = config_at(config_at(n, "file"), "path");
        all[i] = from[i].file;
        for (uint32_t k = 0; k < i; k++)
            if (all[i].path.len > 0 && bytes_eq(all[i].path, all[k].path))
                diagnostics_add(&r->d, path->place, path->width, NULL, "'%s' is a sink already",
                                all[i].path.at);
    }
    r->c->alerts.sink_count = file->sinks.count;
}
