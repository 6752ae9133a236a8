#include "yaml.h"

#include <stdlib.h>
/* libyaml names its header as we do ours. */
#include <yaml.h> // NOLINT(readability-duplicate-include)

#include "base/limits.h"

struct reading {
    yaml_parser_t parser;
    struct arena *arena;
    struct diagnostics *d;
    const char *file;
    struct bytes text;
    uint32_t nodes;
};

static struct place place_of(const struct reading *r, const yaml_mark_t *mark) {
    return (struct place){r->file, (uint32_t)mark->line + 1, (uint32_t)mark->column + 1};
}

static uint32_t width_of(const yaml_event_t *e) {
    bool one_line = e->start_mark.line == e->end_mark.line;
    size_t width = one_line ? e->end_mark.column - e->start_mark.column : 1;
    return width > 0 ? (uint32_t)width : 1;
}

/* ---- What libyaml itself refuses: one error, since it cannot go on ---- */

/* Reader errors (encoding, control characters) come with a byte offset instead of a mark. */
static struct place place_of_offset(const struct reading *r, size_t offset) {
    struct place p = {r->file, 1, 1};
    for (size_t i = 0; i < offset && i < r->text.len; i++) {
        unsigned char c = (unsigned char)r->text.at[i];
        if (c == '\n') {
            p.line++;
            p.column = 1;
        } else if ((c & 0xc0) != 0x80) {
            p.column++;
        }
    }
    return p;
}

static bool is_tab_at(const struct reading *r, const yaml_mark_t *mark) {
    struct bytes rest = r->text;
    for (size_t line = 0; line < mark->line && rest.at != NULL; line++)
        (void)bytes_cut(&rest, '\n');
    return rest.at != NULL && rest.len > mark->column && rest.at[mark->column] == '\t';
}

static const char *syntax_hint(const yaml_parser_t *p) {
    bool flow = strstr(p->context, "flow") != NULL;
    if (strstr(p->context, "alias") != NULL)
        return "text that begins with * needs quotes: \"*\"";
    return flow ? "text with any of [ ] { } , : # in it needs quotes" : NULL;
}

static void refuse_syntax(struct reading *r) {
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR)
        diagnostics_add(r->d, (struct place){r->file, 1, 1}, 0, NULL, "out of memory");
    else if (p->error == YAML_READER_ERROR)
        diagnostics_add(r->d, place_of_offset(r, p->problem_offset), 1, NULL, "not valid YAML: %s",
                        p->problem);
    else if (is_tab_at(r, &p->problem_mark))
        diagnostics_add(r->d, place_of(r, &p->problem_mark), 1, "indent with spaces",
                        "not valid YAML: a tab cannot indent");
    else if (p->context != NULL)
        diagnostics_add(r->d, place_of(r, &p->problem_mark), 1, syntax_hint(p),
                        "not valid YAML: %s %s that began in line %zu", p->problem, p->context,
                        p->context_mark.line + 1);
    else
        diagnostics_add(r->d, place_of(r, &p->problem_mark), 1, NULL, "not valid YAML: %s",
                        p->problem != NULL ? p->problem : "cannot be read");
}

static bool next_event(struct reading *r, yaml_event_t *e) {
    if (yaml_parser_parse(&r->parser, e))
        return true;
    refuse_syntax(r);
    return false;
}

/* ---- The tree ---- */

static void refuse_extras(struct reading *r, const yaml_event_t *e, const yaml_char_t *anchor,
                          const yaml_char_t *tag) {
    if (anchor != NULL)
        diagnostics_add(r->d, place_of(r, &e->start_mark), width_of(e),
                        "write the value out where it is needed", "anchors are not allowed: &%s",
                        (const char *)anchor);
    if (tag != NULL)
        diagnostics_add(r->d, place_of(r, &e->start_mark), width_of(e), NULL,
                        "tags are not allowed: %s", (const char *)tag);
}

static bool has_control(struct bytes s) {
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.at[i] < 0x20 || s.at[i] == 0x7f)
            return true;
    return false;
}

static bool out_of_memory(struct reading *r, const yaml_event_t *e) {
    diagnostics_add(r->d, place_of(r, &e->start_mark), 0, NULL, "out of memory");
    return false;
}

static struct yaml_node *node_new(struct reading *r, const yaml_event_t *e, enum yaml_kind kind) {
    if (r->nodes++ >= CONFIG_NODES_MAX) {
        diagnostics_add(r->d, place_of(r, &e->start_mark), width_of(e), NULL,
                        "the file has more than %d values", CONFIG_NODES_MAX);
        return NULL;
    }
    struct yaml_node *n = arena_new_array(r->arena, struct yaml_node, 1);
    if (n == NULL) {
        (void)out_of_memory(r, e);
        return NULL;
    }
    n->kind = kind;
    n->place = place_of(r, &e->start_mark);
    n->width = width_of(e);
    return n;
}

static bool copy_scalar(struct reading *r, const yaml_event_t *e, struct bytes *out) {
    struct bytes text = bytes_of(e->data.scalar.value, e->data.scalar.length);
    refuse_extras(r, e, e->data.scalar.anchor, e->data.scalar.tag);
    if (has_control(text))
        diagnostics_add(r->d, place_of(r, &e->start_mark), width_of(e), NULL,
                        "line breaks and control characters are not allowed in a value");
    *out = arena_copy(r->arena, text);
    return out->at != NULL || out_of_memory(r, e);
}

static int by_key(const void *a, const void *b) {
    const struct yaml_node *x = *(struct yaml_node *const *)a, *y = *(struct yaml_node *const *)b;
    size_t shorter = x->key.len < y->key.len ? x->key.len : y->key.len;
    int order = memcmp(x->key.at, y->key.at, shorter);
    if (order == 0 && x->key.len != y->key.len)
        order = x->key.len < y->key.len ? -1 : 1;
    if (order == 0 && x->key_place.line != y->key_place.line)
        order = x->key_place.line < y->key_place.line ? -1 : 1;
    if (order == 0)
        order = x->key_place.column < y->key_place.column ? -1 : 1;
    return order;
}

/* By sorting: comparing each with each would make a large key list quadratic. */
static bool refuse_duplicates(struct reading *r, const struct yaml_node *map,
                              const yaml_event_t *e) {
    if (map->count < 2)
        return true;
    struct yaml_node **all = arena_new_array(r->arena, struct yaml_node *, map->count), **at = all;
    if (all == NULL)
        return out_of_memory(r, e);
    for (struct yaml_node *n = map->first; n != NULL; n = n->next)
        *at++ = n;
    qsort(all, map->count, sizeof(struct yaml_node *), by_key);
    for (uint32_t i = 1; i < map->count; i++)
        if (bytes_eq(all[i - 1]->key, all[i]->key))
            diagnostics_add(r->d, all[i]->key_place, all[i]->key_width, NULL,
                            "duplicate key '%s', first given in line %u",
                            diagnostics_word(r->d, all[i]->key_place.file, all[i]->key.at),
                            all[i - 1]->key_place.line);
    return true;
}

static bool read_node(struct reading *r, yaml_event_t *e, uint32_t depth, struct yaml_node **out);

/* Reads the key that event e is, then its value. */
static bool read_entry(struct reading *r, yaml_event_t *e, uint32_t depth, struct yaml_node **out) {
    struct place place = place_of(r, &e->start_mark);
    uint32_t width = width_of(e);
    struct bytes key;
    yaml_event_t value;
    if (e->type != YAML_SCALAR_EVENT) {
        diagnostics_add(r->d, place, 1, NULL, "a key must be plain text");
        return false;
    }
    if (!copy_scalar(r, e, &key) || !next_event(r, &value))
        return false;
    bool ok = read_node(r, &value, depth, out);
    yaml_event_delete(&value);
    if (ok) {
        (*out)->key = key;
        (*out)->key_place = place;
        (*out)->key_width = width;
    }
    return ok;
}

static bool read_children(struct reading *r, struct yaml_node *parent, uint32_t depth) {
    yaml_event_type_t end =
        parent->kind == YAML_MAP ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    struct yaml_node **last = &parent->first;
    for (;;) {
        yaml_event_t e;
        if (!next_event(r, &e))
            return false;
        bool over = e.type == end, ok;
        if (over)
            ok = parent->kind != YAML_MAP || refuse_duplicates(r, parent, &e);
        else if (parent->kind == YAML_MAP)
            ok = read_entry(r, &e, depth, last);
        else
            ok = read_node(r, &e, depth, last);
        yaml_event_delete(&e);
        if (over || !ok)
            return ok;
        last = &(*last)->next;
        parent->count++;
    }
}

static bool read_alias(struct reading *r, const yaml_event_t *e, struct yaml_node **out) {
    diagnostics_add(r->d, place_of(r, &e->start_mark), width_of(e),
                    "write the value out where it is needed", "aliases are not allowed: *%s",
                    (const char *)e->data.alias.anchor);
    *out = node_new(r, e, YAML_SCALAR);
    return *out != NULL;
}

static bool read_collection(struct reading *r, const yaml_event_t *e, uint32_t depth,
                            struct yaml_node **out) {
    bool map = e->type == YAML_MAPPING_START_EVENT;
    if (map)
        refuse_extras(r, e, e->data.mapping_start.anchor, e->data.mapping_start.tag);
    else
        refuse_extras(r, e, e->data.sequence_start.anchor, e->data.sequence_start.tag);
    if (depth >= CONFIG_DEPTH_MAX) {
        diagnostics_add(r->d, place_of(r, &e->start_mark), 1, NULL,
                        "nested more than %d levels deep", CONFIG_DEPTH_MAX);
        return false;
    }
    *out = node_new(r, e, map ? YAML_MAP : YAML_LIST);
    return *out != NULL && read_children(r, *out, depth + 1);
}

static bool read_node(struct reading *r, yaml_event_t *e, uint32_t depth, struct yaml_node **out) {
    switch (e->type) {
    case YAML_ALIAS_EVENT:
        return read_alias(r, e, out);
    case YAML_SCALAR_EVENT:
        *out = node_new(r, e, YAML_SCALAR);
        if (*out == NULL)
            return false;
        (*out)->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        return copy_scalar(r, e, &(*out)->text);
    default:
        return read_collection(r, e, depth, out);
    }
}

/* Stream start, document start, the root node, document end, stream end. */
static struct yaml_node *read_stream(struct reading *r) {
    struct yaml_node *root = NULL;
    yaml_event_t e;
    for (bool over = false, ok = true; !over; yaml_event_delete(&e)) {
        if (!next_event(r, &e))
            return NULL;
        bool structure = e.type == YAML_STREAM_START_EVENT || e.type == YAML_DOCUMENT_END_EVENT;
        over = e.type == YAML_STREAM_END_EVENT;
        if (e.type == YAML_DOCUMENT_START_EVENT && root != NULL) {
            diagnostics_add(r->d, place_of(r, &e.start_mark), width_of(&e), NULL,
                            "a second document: one file holds one");
            over = true;
        } else if (!over && !structure && e.type != YAML_DOCUMENT_START_EVENT) {
            ok = read_node(r, &e, 0, &root);
            over = !ok;
        }
        if (!ok)
            root = NULL;
    }
    return root;
}

struct yaml_node *yaml_parse(struct arena *arena, const char *file, struct bytes text,
                             struct diagnostics *d) {
    struct reading r = {.arena = arena, .d = d, .file = file, .text = text};
    struct yaml_node *root = NULL;
    uint32_t before = d->count;
    struct place start = {file, 1, 1};
    if (text.len > CONFIG_BYTES_MAX) {
        diagnostics_add(d, start, 0, NULL, "larger than %zu bytes", CONFIG_BYTES_MAX);
    } else if (!yaml_parser_initialize(&r.parser)) {
        diagnostics_add(d, start, 0, NULL, "out of memory");
    } else {
        yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(
            &r.parser, (const unsigned char *)(text.len > 0 ? text.at : ""), text.len);
        root = read_stream(&r);
        yaml_parser_delete(&r.parser);
        if (root == NULL && d->count == before)
            diagnostics_add(d, start, 0, NULL, "the file is empty");
    }
    return root;
}

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key) {
    if (map == NULL || map->kind != YAML_MAP)
        return NULL;
    const struct yaml_node *n = map->first;
    while (n != NULL && !bytes_is(n->key, key))
        n = n->next;
    return n;
}

bool yaml_is_null(const struct yaml_node *node) {
    return node->kind == YAML_SCALAR && node->plain &&
           (node->text.len == 0 || bytes_is(node->text, "~") || bytes_is(node->text, "null"));
}

const char *yaml_kind_name(const struct yaml_node *node) {
    if (node->kind == YAML_MAP)
        return "a map";
    if (node->kind == YAML_LIST)
        return "a list";
    return yaml_is_null(node) ? "nothing" : "text";
}
