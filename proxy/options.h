/* options.h - everything that is done with a table of base/option.h.
 *
 * Reading: a YAML map into a struct, all errors collected.  Printing: the struct's values as JSON
 * (which is YAML again, and reads back to the same struct), the table as JSON Schema, the table as
 * Markdown.
 *
 * What the engine adds to the table's words:
 *   - `null` where a section stands is a section with all defaults;
 *   - LIST and MAP: min and max bound the number of elements; a scalar element is unbounded;
 *   - STRING and FILE are never empty when given: empty means absent;
 *   - a section that is absent gets its rows' defaults, and its `required` rows do not count;
 *   - CUSTOM: the field is a `const struct yaml_node *`, the value as it stands (NULL: absent),
 * good for as long as the tree is; struct option_custom prints it and describes it. */
#ifndef QG_OPTIONS_H
#define QG_OPTIONS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/option.h"
#include "diagnostics.h"
#include "yaml.h"

struct option_reader {
    struct arena *arena; /* of what the structs point to */
    struct diagnostics *d;
    const char *folder; /* FILE options are relative to it; without the last '/' */
};

/* Reads `node` (a map, or null) into *out, which is zeroed.  where names the map in messages:
 * "upstreams.digits"; empty for the top level.  False: at least one error was added; *out is then
 * complete but for what was wrong. */
bool options_read(struct option_reader *r, const struct yaml_node *node, const struct option *rows,
                  const char *where, void *out);

/* path made absolute: as it is, or folder/path.  at == NULL: out of memory. */
struct bytes options_path(const struct option_reader *r, struct bytes path);

/* ---- Scalars ---- */

/* One value of the row's type (or, for a LIST or MAP, of row->scalar) from its text, into *out.
 * False: *why holds what was expected, and hint a better spelling. */
struct scalar_error {
    char why[200];
    char hint[60];            /* empty: none */
    const char *const *words; /* the ones it could have been, or NULL */
};
bool option_parse(const struct option *row, struct bytes text, bool plain, void *out,
                  struct scalar_error *error);

/* The value as YAML would spell it: 8MiB, 10s, 120/min, digits; strings as they are. */
void option_format(const struct option *row, const void *value, struct buf *out);

/* Microseconds in the largest unit that divides them: 90s, 2min, 5ms. */
void option_format_duration(uint64_t us, struct buf *out);

/* ---- Printing ---- */

struct option_custom {
    void (*print)(const struct option *row, const void *field, void *cookie, struct buf *out);
    void (*schema)(const struct option *row, struct buf *out);
    void *cookie;
};

void options_print(const struct option *rows, const void *conf, const struct option_custom *custom,
                   struct buf *out);

/* The schema of a map with these rows: {"type": "object", ...}.  says: its description, or NULL. */
void options_schema(const struct option *rows, const char *says, const struct option_custom *custom,
                    struct buf *out);

/* A table of the rows, then each section's own table under a heading with its path. */
void options_reference(const struct option *rows, const char *where, struct buf *out);

/* Has the table a required row?  Then null cannot stand for its section. */
bool options_required(const struct option *rows);

/* The size of a scalar type's field. */
size_t option_size(enum option_type type);

#endif
