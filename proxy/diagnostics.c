#include "diagnostics.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"

#define QUOTE_COLUMNS 120 /* of a longer line, this much around the error is shown */
#define WORD_MAX      48  /* longer words have no neighbours */
#define FEW_WORDS     16

void diagnostics_init(struct diagnostics *d, struct arena *arena) {
    *d = (struct diagnostics){.arena = arena};
}

void diagnostics_source(struct diagnostics *d, const char *file, struct bytes text) {
    struct diagnostic_source **last = &d->sources, *s = arena_alloc(d->arena, sizeof(*s));
    if (s == NULL) {
        d->no_memory = true;
        return;
    }
    *s = (struct diagnostic_source){.file = file, .text = text};
    while (*last != NULL)
        last = &(*last)->next;
    *last = s;
}

void diagnostics_secret(struct diagnostics *d, const char *file) {
    diagnostics_source(d, file, bytes_of(NULL, 0));
}

static const struct diagnostic_source *find_source(const struct diagnostics *d, const char *file) {
    const struct diagnostic_source *s = d->sources;
    while (s != NULL && strcmp(s->file, file) != 0)
        s = s->next;
    return s;
}

const char *diagnostics_word(const struct diagnostics *d, const char *file, const char *word) {
    const struct diagnostic_source *s = find_source(d, file);
    return s != NULL && s->text.at == NULL ? "..." : word;
}

void diagnostics_add(struct diagnostics *d, struct place place, uint32_t width, const char *hint,
                     const char *format, ...) {
    va_list args;
    char text[512];
    uint32_t n = d->count++;
    if (n >= CONFIG_ERRORS_MAX)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    struct bytes copy = arena_copy(d->arena, bytes_str(text));
    d->no_memory |= copy.at == NULL;
    d->kept[n] = (struct diagnostic){.place = place,
                                     .width = width,
                                     .text = copy.at != NULL ? copy.at : "out of memory",
                                     .hint = hint,
                                     .sequence = n};
}

/* ---- Printing ---- */

static uint32_t source_rank(const struct diagnostics *d, const char *file) {
    uint32_t rank = 0;
    const struct diagnostic_source *s = d->sources;
    for (; s != NULL && strcmp(s->file, file) != 0; s = s->next)
        rank++;
    return rank;
}

static int by_place(const void *x, const void *y, void *cookie) {
    const struct diagnostic *a = x, *b = y;
    uint32_t file_a = source_rank(cookie, a->place.file),
             file_b = source_rank(cookie, b->place.file);
    if (file_a != file_b)
        return file_a < file_b ? -1 : 1;
    if (a->place.line != b->place.line)
        return a->place.line < b->place.line ? -1 : 1;
    if (a->place.column != b->place.column)
        return a->place.column < b->place.column ? -1 : 1;
    return a->sequence < b->sequence ? -1 : 1;
}

/* Bytes of the line break s starts with, 0: none.  YAML 1.1 knows NEL, LS and PS besides CR, LF. */
static size_t break_length(struct bytes s) {
    if (bytes_starts(s, "\r\n") || bytes_starts(s, "\xc2\x85"))
        return 2;
    if (bytes_starts(s, "\xe2\x80\xa8") || bytes_starts(s, "\xe2\x80\xa9"))
        return 3;
    return s.len > 0 && (s.at[0] == '\n' || s.at[0] == '\r') ? 1 : 0;
}

static struct bytes first_line(struct bytes text) {
    size_t n = 0;
    while (n < text.len && break_length(bytes_skip(text, n)) == 0)
        n++;
    return bytes_of(text.at, n);
}

/* False: the text has no such line. */
static bool find_line(struct bytes text, uint32_t line, struct bytes *out) {
    for (; line > 1; line--) {
        text = bytes_skip(text, first_line(text).len);
        size_t n = break_length(text);
        if (n == 0)
            return false;
        text = bytes_skip(text, n);
    }
    *out = first_line(text);
    return true;
}

static size_t character(struct bytes s) {
    size_t n = utf8_length(s);
    return n > 0 ? n : 1;
}

/* Terminals obey control characters, so none is printed. */
static void add_shown(struct buf *out, struct bytes c) {
    unsigned char first = (unsigned char)c.at[0];
    bool control = (first < 0x20 && first != '\t') || first == 0x7f ||
                   (first == 0xc2 && c.len == 2 && (unsigned char)c.at[1] < 0xa0);
    if (control || utf8_length(c) == 0)
        buf_add_char(out, '?');
    else
        buf_add_bytes(out, c);
}

static void add_line_shown(struct buf *out, struct bytes s) {
    for (size_t n; s.len > 0; s = bytes_skip(s, n)) {
        n = character(s);
        add_shown(out, bytes_of(s.at, n));
    }
}

static void print_quote(struct bytes line, uint32_t column, uint32_t width, struct buf *out) {
    uint32_t first = column > QUOTE_COLUMNS - 20 ? column - QUOTE_COLUMNS / 2 : 0, at = 1;
    size_t mark = 0, n;
    struct bytes rest = line;
    for (; at <= first && rest.len > 0; at++)
        rest = bytes_skip(rest, character(rest));
    struct bytes shown = {rest.at, 0};
    for (; at <= first + QUOTE_COLUMNS && rest.len > 0; at++, rest = bytes_skip(rest, n)) {
        n = character(rest);
        if (at < column)
            mark += n;
        shown.len += n;
    }
    buf_add_str(out, first > 0 ? "    ..." : "    ");
    add_line_shown(out, shown);
    buf_add_str(out, first > 0 ? "\n       " : "\n    ");
    for (size_t i = 0; i < mark; i += n) {
        n = character(bytes_skip(shown, i));
        buf_add_char(out, shown.at[i] == '\t' ? '\t' : ' ');
    }
    buf_add_char(out, '^');
    for (uint32_t i = 1; i < width && column + i < at; i++)
        buf_add_char(out, '~');
    buf_add_char(out, '\n');
}

static void print_one(const struct diagnostics *d, const struct diagnostic *e, struct buf *out) {
    const struct diagnostic_source *s = find_source(d, e->place.file);
    struct bytes line;
    add_line_shown(out, bytes_str(e->place.file));
    buf_printf(out, ":%u:%u: error: ", e->place.line > 0 ? e->place.line : 1,
               e->place.column > 0 ? e->place.column : 1);
    add_line_shown(out, bytes_str(e->text));
    buf_add_char(out, '\n');
    if (e->width > 0 && s != NULL && s->text.at != NULL && find_line(s->text, e->place.line, &line))
        print_quote(line, e->place.column, e->width, out);
    if (e->hint != NULL) {
        buf_add_str(out, "    hint: ");
        add_line_shown(out, bytes_str(e->hint));
        buf_add_char(out, '\n');
    }
}

void diagnostics_print(struct diagnostics *d, struct buf *out) {
    uint32_t kept = d->count < CONFIG_ERRORS_MAX ? d->count : CONFIG_ERRORS_MAX;
    if (kept == 0)
        return;
    qsort_r(d->kept, kept, sizeof(d->kept[0]), by_place, d);
    for (uint32_t i = 0; i < kept; i++)
        print_one(d, &d->kept[i], out);
    buf_printf(out, "%u error%s", d->count, d->count == 1 ? "" : "s");
    if (kept < d->count)
        buf_printf(out, ", %u shown", kept);
    buf_add_char(out, '\n');
}

/* ---- The nearest word ---- */

static char folded(char c) {
    return c == '-' ? '_' : ascii_lower(c);
}

static size_t smallest(size_t a, size_t b, size_t c) {
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

/* Optimal string alignment: insert, delete, replace, swap neighbours, three rows at a time. */
static size_t edit_distance(struct bytes a, struct bytes b) {
    size_t rows[3][WORD_MAX + 1], *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b.len; j++)
        last[j] = before[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            bool same = folded(a.at[i - 1]) == folded(b.at[j - 1]);
            now[j] = smallest(last[j] + 1, now[j - 1] + 1, last[j - 1] + (same ? 0 : 1));
            if (i > 1 && j > 1 && folded(a.at[i - 1]) == folded(b.at[j - 2]) &&
                folded(a.at[i - 2]) == folded(b.at[j - 1]) && before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[b.len];
}

static const char *nearest(struct bytes word, const char *const *words) {
    const char *best = NULL;
    size_t least = word.len / 3 + 1;
    if (word.len == 0 || word.len > WORD_MAX)
        return NULL;
    for (; *words != NULL; words++) {
        struct bytes w = bytes_str(*words);
        size_t distance = w.len <= WORD_MAX ? edit_distance(word, w) : SIZE_MAX;
        if (2 * distance < word.len && distance < w.len && distance <= least &&
            (best == NULL || distance < least)) {
            best = *words;
            least = distance;
        }
    }
    return best;
}

const char *diagnostics_hint(struct diagnostics *d, struct bytes word, const char *const *words) {
    struct bytes list = BYTES_LITERAL("");
    size_t count = 0;
    if (d->count >= CONFIG_ERRORS_MAX) /* It would not be printed, and a long file costs. */
        return NULL;
    const char *near = nearest(word, words);
    if (near != NULL)
        return arena_printf(d->arena, "did you mean '%s'?", near).at;
    while (words[count] != NULL)
        count++;
    if (count == 0 || count > FEW_WORDS)
        return NULL;
    for (size_t i = 0; i < count && list.at != NULL; i++)
        list = arena_printf(d->arena, "%s%s%s", list.at, i > 0 ? ", " : "", words[i]);
    return list.at != NULL ? arena_printf(d->arena, "one of: %s", list.at).at : NULL;
}
