#include "options.h"

#include <stdio.h>

#include "base/require.h"

static bool read_value(struct option_reader *r, const struct option *row,
                       const struct yaml_node *node, const char *where, void *out);
static bool read_section(struct option_reader *r, const struct yaml_node *node,
                         const struct option *rows, const char *where, void *out);
static void fill_absent(const struct option *rows, void *out);

static void *field(void *base, const struct option *row) {
    return (char *)base + row->offset;
}

static bool no_memory(struct option_reader *r, const struct yaml_node *node) {
    diagnostics_add(r->d, node->place, 0, NULL, "out of memory");
    return false;
}

/* "a.b" or "b"; on a full arena just "b". */
static const char *below(struct option_reader *r, const char *where, const char *name) {
    const char *path =
        arena_printf(r->d->arena, "%s%s%s", where, *where != '\0' ? "." : "", name).at;
    return path != NULL ? path : name;
}

static const char *element_path(struct option_reader *r, const char *where, uint32_t i) {
    const char *path = arena_printf(r->d->arena, "%s[%u]", where, i).at;
    return path != NULL ? path : where;
}

static bool wrong_kind(struct option_reader *r, const struct yaml_node *node, const char *where,
                       const char *expected, const char *hint) {
    diagnostics_add(r->d, node->place, node->width, hint, "%s: expected %s, not %s", where,
                    expected, yaml_kind_name(node));
    return false;
}

/* The one element, given without its list.  Lists of sections may hold secrets: not repeated. */
static const char *list_hint(const struct option_reader *r, const struct option *row,
                             const struct yaml_node *node) {
    if (row->type != OPTION_LIST || row->rows != NULL || node->kind != YAML_SCALAR ||
        yaml_is_null(node))
        return NULL;
    return arena_printf(r->d->arena, "[%s]", node->text.at).at;
}

/* The first option that a section must have: the value that was given in its place is mostly its.
 */
static const char *section_hint(const struct option_reader *r, const struct option *rows) {
    while (rows->type != OPTION_END && !rows->required)
        rows++;
    if (rows->type == OPTION_END)
        return NULL;
    return arena_printf(r->d->arena, "{%s: ...}", rows->name).at;
}

struct bytes options_path(const struct option_reader *r, struct bytes path) {
    if (bytes_starts(path, "/"))
        return arena_copy(r->arena, path);
    return arena_printf(r->arena, "%s/%.*s", r->folder, (int)path.len, path.at);
}

/* ---- Values ---- */

/* Strings point into the YAML tree until they are copied to the arena that stays. */
static bool keep_string(struct option_reader *r, enum option_type type,
                        const struct yaml_node *node, void *out) {
    struct bytes *s = out;
    if (type == OPTION_FILE)
        *s = options_path(r, *s);
    else if (type == OPTION_STRING)
        *s = arena_copy(r->arena, *s);
    else
        return true;
    return s->at != NULL || no_memory(r, node);
}

static bool read_scalar(struct option_reader *r, const struct option *row, enum option_type type,
                        const struct yaml_node *node, const char *where, void *out) {
    struct scalar_error error;
    struct bytes text = yaml_is_null(node) ? BYTES_LITERAL("") : node->text;
    if (node->kind != YAML_SCALAR)
        return wrong_kind(r, node, where, "a single value", NULL);
    if (option_parse(row, text, node->plain, out, &error))
        return keep_string(r, type, node, out);
    const char *hint = error.hint[0] != '\0' ? arena_copy(r->d->arena, bytes_str(error.hint)).at
                       : error.words != NULL ? diagnostics_hint(r->d, text, error.words)
                                             : NULL;
    diagnostics_add(r->d, node->place, node->width, hint, "%s: %s", where, error.why);
    memset(out, 0, option_size(type));
    return false;
}

static bool count_fits(struct option_reader *r, const struct option *row,
                       const struct yaml_node *node, const char *where) {
    if (node->count >= row->min && (row->max == 0 || node->count <= row->max))
        return true;
    if (row->min == row->max)
        diagnostics_add(r->d, node->place, node->width, NULL, "%s: expected %.0f elements, not %u",
                        where, row->min, node->count);
    else if (node->count < row->min)
        diagnostics_add(r->d, node->place, node->width, NULL, "%s: expected at least %.0f, not %u",
                        where, row->min, node->count);
    else
        diagnostics_add(r->d, node->place, node->width, NULL, "%s: expected at most %.0f, not %u",
                        where, row->max, node->count);
    return false;
}

static bool read_pair(struct option_reader *r, const struct option *row,
                      const struct yaml_node *node, const char *where, struct option_pair *pair) {
    pair->place = node->place;
    if (row->scalar == OPTION_WORD)
        return read_scalar(r, row, row->scalar, node, where, &pair->word);
    return read_scalar(r, row, row->scalar, node, where, &pair->value);
}

static bool read_element(struct option_reader *r, const struct option *row,
                         const struct yaml_node *node, const char *where, void *out) {
    struct bytes *name = out;
    if (row->type == OPTION_LIST)
        return row->rows != NULL ? read_section(r, node, row->rows, where, out)
                                 : read_scalar(r, row, row->scalar, node, where, out);
    if (node->key.len == 0) {
        diagnostics_add(r->d, node->key_place, node->key_width, NULL,
                        "%s: a name must not be empty", where);
        return false;
    }
    *name = arena_copy(r->arena, node->key);
    if (name->at == NULL)
        return no_memory(r, node);
    return row->rows != NULL ? read_section(r, node, row->rows, where, out)
                             : read_pair(r, row, node, where, out);
}

static bool read_elements(struct option_reader *r, const struct option *row,
                          const struct yaml_node *node, const char *where, void *out) {
    struct option_list *list = out;
    enum yaml_kind kind = row->type == OPTION_LIST ? YAML_LIST : YAML_MAP;
    bool ok = true;
    if (node->kind != kind)
        return wrong_kind(r, node, where, kind == YAML_LIST ? "a list" : "a map of names",
                          list_hint(r, row, node));
    if (!count_fits(r, row, node, where))
        return false;
    list->at = arena_calloc(r->arena, node->count, row->element_size);
    if (list->at == NULL)
        return no_memory(r, node);
    for (const struct yaml_node *n = node->first; n != NULL; n = n->next) {
        const char *path =
            kind == YAML_LIST ? element_path(r, where, list->count) : below(r, where, n->key.at);
        ok &= read_element(r, row, n, path, (char *)list->at + list->count * row->element_size);
        list->count++;
    }
    return ok;
}

static bool read_value(struct option_reader *r, const struct option *row,
                       const struct yaml_node *node, const char *where, void *out) {
    switch (row->type) {
    case OPTION_SECTION:
        return read_section(r, node, row->rows, where, out);
    case OPTION_LIST:
    case OPTION_MAP:
        return read_elements(r, row, node, where, out);
    case OPTION_CUSTOM:
        *(const struct yaml_node **)out = node;
        return true;
    default:
        return read_scalar(r, row, row->type, node, where, out);
    }
}

/* ---- Sections ---- */

static const struct option *row_named(const struct option *rows, struct bytes name) {
    for (; rows->type != OPTION_END; rows++)
        if (bytes_is(name, rows->name))
            return rows;
    return NULL;
}

static bool unknown_option(struct option_reader *r, const struct yaml_node *node,
                           const struct option *rows, const char *where) {
    const char *names[64];
    size_t n = 0;
    for (; rows->type != OPTION_END && n < 63; rows++)
        names[n++] = rows->name;
    names[n] = NULL;
    diagnostics_add(r->d, node->key_place, node->key_width,
                    diagnostics_hint(r->d, node->key, names), "unknown option '%s'%s%s",
                    diagnostics_word(r->d, node->key_place.file, node->key.at),
                    *where != '\0' ? " in " : "", where);
    return false;
}

static bool read_given(struct option_reader *r, const struct yaml_node *node,
                       const struct option *rows, const char *where, void *out) {
    bool ok = true;
    for (const struct yaml_node *n = node->first; n != NULL; n = n->next) {
        const struct option *row = row_named(rows, n->key);
        if (row != NULL && yaml_get(node, row->name) != n)
            continue; /* A duplicate, which was said: the first counts. */
        ok &= row != NULL ? read_value(r, row, n, below(r, where, row->name), field(out, row))
                          : unknown_option(r, n, rows, where);
    }
    return ok;
}

static void fill_default(const struct option *row, void *out) {
    struct scalar_error error;
    if (row->type == OPTION_SECTION)
        fill_absent(row->rows, out);
    else if (row->fallback != NULL)
        require(option_parse(row, bytes_str(row->fallback), true, out, &error));
}

static void fill_absent(const struct option *rows, void *out) {
    for (; rows->type != OPTION_END; rows++)
        fill_default(rows, field(out, rows));
}

static bool missing(struct option_reader *r, const struct yaml_node *node, const char *name,
                    const char *where) {
    bool keyed = node->key_width > 0;
    diagnostics_add(r->d, keyed ? node->key_place : node->place,
                    keyed ? node->key_width : node->width, NULL, "missing option '%s'%s%s", name,
                    *where != '\0' ? " in " : "", where);
    return false;
}

static bool read_section(struct option_reader *r, const struct yaml_node *node,
                         const struct option *rows, const char *where, void *out) {
    bool ok = true;
    if (node->kind == YAML_MAP)
        ok = read_given(r, node, rows, where, out);
    else if (!yaml_is_null(node))
        return wrong_kind(r, node, *where != '\0' ? where : "the file", "a map of options",
                          section_hint(r, rows));
    for (; rows->type != OPTION_END; rows++) {
        if (yaml_get(node, rows->name) != NULL)
            continue;
        if (rows->required)
            ok &= missing(r, node, rows->name, where);
        else
            fill_default(rows, field(out, rows));
    }
    return ok;
}

bool options_read(struct option_reader *r, const struct yaml_node *node, const struct option *rows,
                  const char *where, void *out) {
    return read_section(r, node, rows, where, out);
}

bool options_required(const struct option *rows) {
    for (; rows->type != OPTION_END; rows++)
        if (rows->required)
            return true;
    return false;
}
