#include "base/limits.h"
#include "config_private.h"

/* ---- The custom option: policies.*.filters ---- */

static void print_filters(const struct option *row, const void *field, void *cookie,
                          struct buf *out) {
    const char *file = (const char *)field - offsetof(struct policy_file, filters);
    const struct policy *p = &((const struct policy_file *)(const void *)file)->conf;
    (void)row, (void)cookie;
    buf_add_char(out, '[');
    for (uint32_t i = 0; i < p->slot_count; i++) {
        buf_add_str(out, i > 0 ? ", {" : "{");
        buf_add_json(out, bytes_str(p->slots[i].filter->name));
        buf_add_str(out, ": ");
        options_print(p->slots[i].filter->options, p->slots[i].conf, NULL, out);
        buf_add_char(out, '}');
    }
    buf_add_char(out, ']');
}

static void schema_filters(const struct option *row, struct buf *out) {
    (void)row;
    buf_printf(out,
               "\"type\": \"array\", \"maxItems\": %d, \"items\": {\"type\": \"object\", "
               "\"minProperties\": 1, \"maxProperties\": 1, \"additionalProperties\": false, "
               "\"properties\": {",
               FILTERS_MAX);
    for (const struct filter *const *f = filters_all; *f != NULL; f++) {
        buf_add_str(out, f > filters_all ? ", " : "");
        buf_add_json(out, bytes_str((*f)->name));
        buf_add_str(out, ": ");
        options_schema((*f)->options, (*f)->says, NULL, out);
    }
    buf_add_str(out, "}}");
}

static const struct option_custom custom = {.print = print_filters, .schema = schema_filters};

void config_print(const struct config *c, struct buf *out) {
    options_print(config_rows(), c->file, &custom, out);
    buf_add_char(out, '\n');
}

/* ---- Schema ---- */

static void new_line(unsigned depth, struct buf *out) {
    buf_add_char(out, '\n');
    for (unsigned i = 0; i < depth; i++)
        buf_add_str(out, "  ");
}

/* JSON again, a member a line: for people and for diffs.  Arrays stay in one line. */
static void indent(struct bytes json, struct buf *out) {
    unsigned depth = 0, arrays = 0;
    bool quoted = false, escaped = false;
    for (size_t i = 0; i < json.len; i++) {
        char c = json.at[i];
        bool open = !quoted && c == '{', close = !quoted && c == '}';
        arrays += !quoted && c == '[' ? 1u : 0u;
        arrays -= !quoted && c == ']' ? 1u : 0u;
        if (close)
            new_line(--depth, out);
        if (quoted || c != ' ' || arrays > 0 || json.at[i - 1] != ',')
            buf_add_char(out, c);
        if (open)
            new_line(++depth, out);
        if (!quoted && c == ',' && arrays == 0)
            new_line(depth, out);
        if (c == '"' && !escaped)
            quoted = !quoted;
        escaped = quoted && c == '\\' && !escaped;
    }
    buf_add_char(out, '\n');
}

void config_schema(struct buf *out) {
    struct buf plain;
    buf_init(&plain, MIB(1));
    buf_add_str(&plain, "{\"$schema\": \"https://json-schema.org/draft/2020-12/schema\", "
                        "\"title\": \"querygate policy\", ");
    size_t head = plain.len;
    options_schema(config_rows(), NULL, &custom, &plain);
    /* The members join the head's object: the brace between them goes. */
    if (!plain.failed) {
        memmove(plain.at + head, plain.at + head + 1, plain.len - head - 1);
        plain.len--;
        indent(buf_bytes(&plain), out);
    }
    out->failed |= plain.failed;
    buf_free(&plain);
}

/* ---- Reference ---- */

static const char intro[] =
    "# Policy reference\n"
    "\n"
    "Every option of the policy file, printed by `querygate reference` out of the tables that the\n"
    "parser reads by. Sections and lists are YAML maps and lists; anchors, aliases and tags are\n"
    "refused, and so are unknown and duplicate options. Values are written so:\n"
    "\n"
    "| type | written |\n"
    "|---|---|\n"
    "| count, number | `12`, `0.5`, without quotes |\n"
    "| size | `512`, `16KiB`, `8MiB`, `1GiB` |\n"
    "| duration | `250us`, `5ms`, `10s`, `2min`, `24h`, `30d` |\n"
    "| rate | `5/s`, `120/min`, `1000/h`, `9/d` |\n"
    "| path | relative to the file it stands in |\n"
    "\n"
    "`querygate check FILE` reports every error of a file at once.\n"
    "\n"
    "## The file\n"
    "\n";

static void reference_filter(const struct filter *f, struct buf *out) {
    buf_printf(out, "\n### `%s`\n\n%s", f->name, f->says);
    if (f->needs != NEEDS_NOTHING)
        buf_add_str(out, " It reads bodies, so it cannot stand in a policy with `bodies: relay`.");
    buf_add_str(out, "\n\n");
    if (f->options[0].type != OPTION_END)
        options_reference(f->options, f->name, out);
    else
        buf_add_str(out, "It has no options.\n");
}

void config_reference(struct buf *out) {
    buf_add_str(out, intro);
    options_reference(config_rows(), "", out);
    buf_add_str(out, "\n## Filters\n\nThe entries of `policies.NAME.filters`, each `NAME: "
                     "{OPTIONS}`, or `NAME:` alone for all defaults.\n");
    for (const struct filter *const *f = filters_all; *f != NULL; f++)
        reference_filter(*f, out);
    buf_add_str(out, "\n## The list of API keys\n\nThe file that `clients.api_keys.file` names; it "
                     "holds hashes, no keys.\n\n");
    options_reference(config_key_rows, "", out);
}
