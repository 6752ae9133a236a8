#include <stdio.h>

#include "options.h"

static const void *field(const void *base, const struct option *row) {
    return (const char *)base + row->offset;
}

static bool is_text(enum option_type type) {
    return type == OPTION_STRING || type == OPTION_FILE;
}

/* ---- Values as JSON ---- */

static void print_scalar(const struct option *row, enum option_type type, const void *value,
                         struct buf *out) {
    struct buf text;
    if (type == OPTION_BOOL || type == OPTION_COUNT || type == OPTION_REAL) {
        option_format(row, value, out);
        return;
    }
    if (is_text(type)) {
        buf_add_json(out, *(const struct bytes *)value);
        return;
    }
    buf_init(&text, KIB(1));
    option_format(row, value, &text);
    buf_add_json(out, buf_bytes(&text));
    buf_free(&text);
}

static void print_element(const struct option *row, const void *element,
                          const struct option_custom *custom, struct buf *out) {
    const struct option_pair *pair = element;
    if (row->rows != NULL)
        options_print(row->rows, element, custom, out);
    else if (row->type == OPTION_LIST)
        print_scalar(row, row->scalar, element, out);
    else if (row->scalar == OPTION_WORD)
        print_scalar(row, row->scalar, &pair->word, out);
    else
        print_scalar(row, row->scalar, &pair->value, out);
}

static void print_elements(const struct option *row, const struct option_list *list,
                           const struct option_custom *custom, struct buf *out) {
    bool map = row->type == OPTION_MAP;
    buf_add_char(out, map ? '{' : '[');
    for (uint32_t i = 0; i < list->count; i++) {
        const char *element = (const char *)list->at + i * row->element_size;
        if (i > 0)
            buf_add_str(out, ", ");
        if (map) {
            buf_add_json(out, *(const struct bytes *)element);
            buf_add_str(out, ": ");
        }
        print_element(row, element, custom, out);
    }
    buf_add_char(out, map ? '}' : ']');
}

/* Absent as the reader leaves it: an empty string, list or map, a zero where zero is not allowed,
 * or a section without what it must have.  Printing these would give a file that does not read
 * back. */
static bool absent(const struct option *row, const void *value) {
    switch (row->type) {
    case OPTION_STRING:
    case OPTION_FILE:
        return ((const struct bytes *)value)->len == 0;
    case OPTION_LIST:
    case OPTION_MAP:
        return ((const struct option_list *)value)->count == 0;
    case OPTION_CUSTOM:
        return !row->required && *(const struct yaml_node *const *)value == NULL;
    case OPTION_RATE:
        return ((const struct rate *)value)->count == 0;
    case OPTION_COUNT:
    case OPTION_SIZE:
    case OPTION_DURATION:
        return row->min > 0 && *(const uint64_t *)value == 0;
    case OPTION_WORD:
        return row->min > 0 && *(const int *)value == 0;
    case OPTION_SECTION:
        for (const struct option *r = row->rows; r->type != OPTION_END; r++)
            if (r->required && absent(r, field(value, r)))
                return true;
        for (const struct option *r = row->rows; r->type != OPTION_END; r++)
            if (!absent(r, field(value, r)))
                return false;
        return true;
    default:
        return false;
    }
}

static void print_value(const struct option *row, const void *value,
                        const struct option_custom *custom, struct buf *out) {
    if (row->type == OPTION_SECTION)
        options_print(row->rows, value, custom, out);
    else if (row->type == OPTION_LIST || row->type == OPTION_MAP)
        print_elements(row, value, custom, out);
    else if (row->type == OPTION_CUSTOM)
        custom->print(row, value, custom->cookie, out);
    else
        print_scalar(row, row->type, value, out);
}

void options_print(const struct option *rows, const void *conf, const struct option_custom *custom,
                   struct buf *out) {
    bool first = true;
    buf_add_char(out, '{');
    for (; rows->type != OPTION_END; rows++) {
        if (absent(rows, field(conf, rows)))
            continue;
        if (!first)
            buf_add_str(out, ", ");
        first = false;
        buf_add_json(out, bytes_str(rows->name));
        buf_add_str(out, ": ");
        print_value(rows, field(conf, rows), custom, out);
    }
    buf_add_char(out, '}');
}

/* ---- JSON Schema ---- */

static void schema_bound(const char *keyword, double v, struct buf *out) {
    buf_printf(out, ", \"%s\": %.15g", keyword, v);
}

static void schema_words(const struct option *row, struct buf *out) {
    buf_add_str(out, "\"enum\": [");
    for (int i = 0; row->words[i] != NULL; i++) {
        buf_add_str(out, i > 0 ? ", " : "");
        buf_add_json(out, bytes_str(row->words[i]));
    }
    buf_add_char(out, ']');
}

static void schema_scalar(const struct option *row, enum option_type type, struct buf *out) {
    static const char size[] = "\"type\": [\"string\", \"integer\"], \"minimum\": 0, "
                               "\"pattern\": \"^[0-9]+(KiB|MiB|GiB)?$\"";
    static const char *const patterns[] = {
        [OPTION_SIZE] = size,
        [OPTION_DURATION] = "\"type\": \"string\", \"pattern\": \"^[0-9]+(us|ms|s|min|h|d)$\"",
        [OPTION_RATE] = "\"type\": \"string\", \"pattern\": \"^[0-9]+/(s|min|h|d)$\"",
        [OPTION_STRING] = "\"type\": \"string\", \"minLength\": 1",
        [OPTION_FILE] = "\"type\": \"string\", \"minLength\": 1",
        [OPTION_BOOL] = "\"type\": \"boolean\"",
        [OPTION_COUNT] = "\"type\": \"integer\"",
        [OPTION_REAL] = "\"type\": \"number\"",
    };
    if (type == OPTION_WORD) {
        schema_words(row, out);
        return;
    }
    buf_add_str(out, patterns[type]);
    if ((type != OPTION_COUNT && type != OPTION_REAL) || row->type != type)
        return;
    schema_bound("minimum", row->min, out);
    if (row->max != 0)
        schema_bound("maximum", row->max, out);
}

static void schema_default(const struct option *row, struct buf *out) {
    bool bare = row->type == OPTION_BOOL || row->type == OPTION_COUNT || row->type == OPTION_REAL;
    if (row->fallback == NULL)
        return;
    buf_add_str(out, ", \"default\": ");
    if (bare)
        buf_add_str(out, row->fallback);
    else
        buf_add_json(out, bytes_str(row->fallback));
}

static void schema_elements(const struct option *row, const struct option_custom *custom,
                            struct buf *out) {
    bool map = row->type == OPTION_MAP;
    buf_add_str(out, map ? "\"type\": \"object\", \"additionalProperties\": "
                         : "\"type\": \"array\", \"items\": ");
    if (row->rows != NULL) {
        options_schema(row->rows, NULL, custom, out);
    } else {
        buf_add_char(out, '{');
        schema_scalar(row, row->scalar, out);
        buf_add_char(out, '}');
    }
    if (row->min > 0)
        schema_bound(map ? "minProperties" : "minItems", row->min, out);
    if (row->max > 0)
        schema_bound(map ? "maxProperties" : "maxItems", row->max, out);
}

static void schema_members(const struct option *rows, const struct option_custom *custom,
                           struct buf *out);

static void schema_row(const struct option *row, const struct option_custom *custom,
                       struct buf *out) {
    buf_add_json(out, bytes_str(row->name));
    buf_add_str(out, ": {\"description\": ");
    buf_add_json(out, bytes_str(row->says));
    buf_add_str(out, ", ");
    if (row->type == OPTION_SECTION)
        schema_members(row->rows, custom, out);
    else if (row->type == OPTION_LIST || row->type == OPTION_MAP)
        schema_elements(row, custom, out);
    else if (row->type == OPTION_CUSTOM)
        custom->schema(row, out);
    else
        schema_scalar(row, row->type, out);
    schema_default(row, out);
    buf_add_char(out, '}');
}

/* Null stands for a section whose options all have defaults. */
static void schema_members(const struct option *rows, const struct option_custom *custom,
                           struct buf *out) {
    const char *comma = "";
    buf_add_str(out, options_required(rows) ? "\"type\": \"object\""
                                            : "\"type\": [\"object\", \"null\"]");
    buf_add_str(out, ", \"additionalProperties\": false, \"properties\": {");
    for (const struct option *row = rows; row->type != OPTION_END; row++) {
        buf_add_str(out, comma);
        schema_row(row, custom, out);
        comma = ", ";
    }
    buf_add_char(out, '}');
    comma = ", \"required\": [";
    for (const struct option *row = rows; row->type != OPTION_END; row++) {
        if (!row->required)
            continue;
        buf_add_str(out, comma);
        buf_add_json(out, bytes_str(row->name));
        comma = ", ";
    }
    if (options_required(rows))
        buf_add_char(out, ']');
}

void options_schema(const struct option *rows, const char *says, const struct option_custom *custom,
                    struct buf *out) {
    buf_add_char(out, '{');
    if (says != NULL) {
        buf_add_str(out, "\"description\": ");
        buf_add_json(out, bytes_str(says));
        buf_add_str(out, ", ");
    }
    schema_members(rows, custom, out);
    buf_add_char(out, '}');
}

/* ---- Markdown ---- */

static const char *const type_names[] = {
    [OPTION_BOOL] = "true or false", [OPTION_COUNT] = "count",       [OPTION_REAL] = "number",
    [OPTION_SIZE] = "size",          [OPTION_DURATION] = "duration", [OPTION_RATE] = "rate",
    [OPTION_STRING] = "text",        [OPTION_FILE] = "path",         [OPTION_SECTION] = "section",
    [OPTION_CUSTOM] = "list",
};

static void reference_words(const struct option *row, struct buf *out) {
    for (int i = 0; row->words[i] != NULL; i++)
        buf_printf(out, "%s`%s`", i > 0 ? ", " : "", row->words[i]);
}

static void reference_scalar(const struct option *row, enum option_type type, struct buf *out) {
    if (type == OPTION_WORD)
        reference_words(row, out);
    else
        buf_add_str(out, type_names[type]);
}

static void reference_type(const struct option *row, struct buf *out) {
    if (row->type != OPTION_LIST && row->type != OPTION_MAP) {
        reference_scalar(row, row->type, out);
        return;
    }
    buf_add_str(out, row->type == OPTION_LIST ? "list of " : "map of name to ");
    if (row->rows != NULL)
        buf_add_str(out, "sections");
    else
        reference_scalar(row, row->scalar, out);
}

static void reference_bound(const struct option *row, double v, struct buf *out) {
    uint64_t whole = (uint64_t)v;
    if (row->type == OPTION_SIZE || row->type == OPTION_DURATION)
        option_format(row, &whole, out);
    else
        buf_printf(out, "%.15g", v);
}

static void reference_bounds(const struct option *row, struct buf *out) {
    if (row->type == OPTION_WORD) /* The least is there to tell one that was not given. */
        return;
    if (row->max > 0) {
        reference_bound(row, row->min, out);
        buf_add_str(out, " to ");
        reference_bound(row, row->max, out);
    } else if (row->min > 0) {
        buf_add_str(out, "at least ");
        reference_bound(row, row->min, out);
    }
}

static void reference_row(const struct option *row, struct buf *out) {
    buf_printf(out, "| `%s` | ", row->name);
    reference_type(row, out);
    buf_add_str(out, " | ");
    reference_bounds(row, out);
    if (row->required)
        buf_add_str(out, " | required | ");
    else if (row->fallback != NULL)
        buf_printf(out, " | `%s` | ", row->fallback);
    else
        buf_add_str(out, " | - | ");
    buf_add_str(out, row->says);
    buf_add_str(out, " |\n");
}

void options_reference(const struct option *rows, const char *where, struct buf *out) {
    buf_add_str(out, "| option | type | bounds | default | what it does |\n"
                     "|---|---|---|---|---|\n");
    for (const struct option *row = rows; row->type != OPTION_END; row++)
        reference_row(row, out);
    for (const struct option *row = rows; row->type != OPTION_END; row++) {
        char path[200];
        if (row->rows == NULL)
            continue;
        snprintf(path, sizeof(path), "%s%s%s%s", where, *where != '\0' ? "." : "", row->name,
                 row->type == OPTION_LIST  ? "[]"
                 : row->type == OPTION_MAP ? ".NAME"
                                           : "");
        buf_printf(out, "\n### `%s`\n\n", path);
        options_reference(row->rows, path, out);
    }
}
