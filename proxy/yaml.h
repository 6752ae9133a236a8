/* yaml.h - a YAML file as a small tree whose nodes know where they stood.
 *
 * The one file that sees libyaml.  Of YAML it takes maps, lists and scalars; anchors, aliases,
 * tags, merge keys, several documents and control characters are errors, and so are two equal keys
 * of one map.  Bounded by CONFIG_* of base/limits.h. */
#ifndef QG_YAML_H
#define QG_YAML_H

#include "base/arena.h"
#include "diagnostics.h"

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_node {
    enum yaml_kind kind;
    struct place place;
    uint32_t width;    /* characters in the line of `place`, at least 1 */
    struct bytes text; /* of a scalar; NUL-terminated */
    bool plain;        /* a scalar without quotes */
    struct bytes key;  /* of a map's child; NUL-terminated */
    struct place key_place;
    uint32_t key_width;             /* 0: not a map's child */
    struct yaml_node *first, *next; /* children; siblings */
    uint32_t count;                 /* children */
};

/* The tree of text, in the arena; `file` is borrowed by the places.  What is wrong is added to d.
 * NULL: there is no tree at all (and there was an error).  A tree may come with errors: it is then
 * complete but for what they say, good for finding more of them. */
struct yaml_node *yaml_parse(struct arena *arena, const char *file, struct bytes text,
                             struct diagnostics *d);

/* The child of a map with that key.  NULL: none, or not a map. */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);

/* Nothing, `~` or `null`, without quotes. */
bool yaml_is_null(const struct yaml_node *node);

/* "a map", "a list", "nothing", "text". */
const char *yaml_kind_name(const struct yaml_node *node);

#endif
