/* option.h - every option once: name, type, place, bounds, default, meaning.
 *
 * A module (a filter, a codec, a section of the file) describes its configuration struct by a
 * table of these rows.  From the table come the parser, its error messages, the JSON Schema,
 * `querygate explain` and the reference documentation (proxy/config.h). */
#ifndef QG_OPTION_H
#define QG_OPTION_H

#include "bytes.h"

enum option_type {
    OPTION_END,      /* last row */
    OPTION_BOOL,     /* bool */
    OPTION_COUNT,    /* uint64_t within [min, max] */
    OPTION_REAL,     /* double within [min, max] */
    OPTION_SIZE,     /* uint64_t bytes: 512, 16KiB, 8MiB */
    OPTION_DURATION, /* uint64_t microseconds: 5ms, 10s, 2min, 24h, 30d */
    OPTION_RATE,     /* struct rate: 120/min, 5/s, 1000/h, 9/d */
    OPTION_STRING,   /* struct bytes */
    OPTION_WORD,     /* int: index into words */
    OPTION_FILE,     /* struct bytes: a path, relative to the file it stands in, made absolute */
    OPTION_SECTION,  /* a struct described by `rows`, in place at offset */
    OPTION_LIST,     /* struct option_list of elements described by `rows` (or `scalar`) */
    OPTION_MAP,    /* the same, of `name: element` pairs; element starts with a struct bytes name */
    OPTION_CUSTOM, /* read by a reader in proxy/config_*.c: the name chooses it */
};

struct rate {
    uint64_t count;     /* this many ... */
    uint64_t period_us; /* ... per this long */
};

struct option_list {
    void *at; /* count elements of the row's element_size, in the configuration's arena */
    uint32_t count;
};

/* Where in the YAML something stood; line and column count from 1, 0 = nowhere (a default). */
struct place {
    const char *file;
    uint32_t line, column;
};

struct option {
    const char *name;
    enum option_type type;
    size_t offset;        /* of the field in the module's struct */
    double min, max;      /* COUNT, REAL, SIZE, DURATION (us); max 0: no upper bound.  WORD: min
                             is the value of the first word; above 0, 0 is left for absent */
    const char *fallback; /* default as it would be written in YAML; NULL: zero */
    bool required;
    const char *const *words;  /* WORD: the allowed ones, NULL-terminated */
    const struct option *rows; /* SECTION, LIST, MAP: the element's options */
    enum option_type scalar;   /* LIST, MAP: elements are plain values of this type instead;
                                  a MAP's is then struct option_pair */
    size_t element_size;       /* LIST, MAP */
    const char *says;          /* one sentence for the docs: what it does, in which unit */
};

/* An element of an OPTION_MAP with scalar STRING or WORD. */
struct option_pair {
    struct bytes name, value;
    int word;
    struct place place;
};

#endif
