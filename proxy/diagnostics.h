/* diagnostics.h - errors in a file, collected, then printed with the line they stand in.
 *
 * Everything said of one configuration goes into one `struct diagnostics`, in any order; printing
 * sorts by file and place.  The CONFIG_ERRORS_MAX first are kept, the others only counted. */
#ifndef QG_DIAGNOSTICS_H
#define QG_DIAGNOSTICS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/option.h"

struct diagnostic {
    struct place place;
    uint32_t width;    /* characters to underline; 0: no line is quoted */
    const char *text;  /* one line */
    const char *hint;  /* one line, or NULL */
    uint32_t sequence; /* in order of finding */
};

struct diagnostic_source {
    const char *file;
    struct bytes text; /* at == NULL: nothing of it is shown */
    struct diagnostic_source *next;
};

struct diagnostics {
    struct arena *arena; /* of the texts and hints; must outlive this */
    struct diagnostic_source *sources;
    struct diagnostic kept[CONFIG_ERRORS_MAX];
    uint32_t count; /* all, the ones not kept too */
    bool no_memory; /* the arena was full: some text is missing */
};

void diagnostics_init(struct diagnostics *d, struct arena *arena);

/* The text of a file, for quoting its lines; borrowed.  Files print in the order of these calls. */
void diagnostics_source(struct diagnostics *d, const char *file, struct bytes text);

/* A file that says who clients are: no line of it is quoted, and what is said of its words goes
 * through diagnostics_word, since errors of a reload go into the log. */
void diagnostics_secret(struct diagnostics *d, const char *file);

/* word, a word of this file; "..." if the file is secret. */
const char *diagnostics_word(const struct diagnostics *d, const char *file, const char *word);

/* Adds an error.  hint may be NULL; it is not copied.  Control characters in the text are printed
 * as '?'. */
void diagnostics_add(struct diagnostics *d, struct place place, uint32_t width, const char *hint,
                     const char *format, ...) __attribute__((format(printf, 5, 6)));

/* All of them in the form of config.h, and the line "N errors".  Nothing when there are none. */
void diagnostics_print(struct diagnostics *d, struct buf *out);

/* "did you mean 'WORD'?" for the word nearest to `word` by edit distance (a swap of neighbours
 * counts one, case and '-' for '_' count nothing), if it is near; else "one of: ..." if the words
 * are few; else NULL.  words is NULL-terminated. */
const char *diagnostics_hint(struct diagnostics *d, struct bytes word, const char *const *words);

#endif
