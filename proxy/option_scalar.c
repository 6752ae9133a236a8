#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/require.h"
#include "options.h"

#define RATE_COUNT_MAX 1000000000u

struct unit {
    const char *name;
    uint64_t size;
};

static const struct unit durations[] = {
    {"us", 1},
    {"ms", MS(1)},
    {"s", SECONDS(1)},
    {"min", SECONDS(60)},
    {"h", SECONDS(3600)},
    {"d", SECONDS(86400)},
    {NULL, 0},
};
static const struct unit sizes[] = {
    {"", 1}, {"KiB", KIB(1)}, {"MiB", MIB(1)}, {"GiB", MIB(1024)}, {NULL, 0},
};
static const struct unit periods[] = {
    {"s", SECONDS(1)}, {"min", SECONDS(60)}, {"h", SECONDS(3600)}, {"d", SECONDS(86400)}, {NULL, 0},
};

/* What people write instead, and what is meant. */
static const char *const misspelled[][2] = {
    {"m", "min"},    {"sec", "s"},      {"secs", "s"},      {"second", "s"}, {"seconds", "s"},
    {"mins", "min"}, {"minute", "min"}, {"minutes", "min"}, {"hour", "h"},   {"hours", "h"},
    {"hr", "h"},     {"day", "d"},      {"days", "d"},      {"msec", "ms"},  {"k", "KiB"},
    {"K", "KiB"},    {"kb", "KiB"},     {"KB", "KiB"},      {"kB", "KiB"},   {"kib", "KiB"},
    {"M", "MiB"},    {"mb", "MiB"},     {"MB", "MiB"},      {"mib", "MiB"},  {"G", "GiB"},
    {"gb", "GiB"},   {"GB", "GiB"},     {"gib", "GiB"},     {"b", ""},       {"B", ""},
};

/* Suggests "10min" for "10m": number is all that stands before the unit. */
static void suggest_unit(struct bytes number, struct bytes unit, const struct unit *units,
                         struct scalar_error *error) {
    for (size_t i = 0; i < sizeof(misspelled) / sizeof(misspelled[0]); i++)
        for (const struct unit *u = units; bytes_is(unit, misspelled[i][0]) && u->name != NULL; u++)
            if (strcmp(u->name, misspelled[i][1]) == 0)
                snprintf(error->hint, sizeof(error->hint), "did you mean '%.*s%s'?",
                         (int)number.len, number.at, u->name);
}

static struct bytes digits_of(struct bytes text) {
    size_t n = 0;
    while (n < text.len && text.at[n] >= '0' && text.at[n] <= '9')
        n++;
    return bytes_of(text.at, n);
}

/* "10s": digits and a unit, without a space.  False: not that, or more than 64 bits. */
static bool parse_quantity(struct bytes text, const struct unit *units, uint64_t *out,
                           struct scalar_error *error) {
    struct bytes number = digits_of(text), unit = bytes_skip(text, number.len);
    uint64_t n;
    if (!bytes_to_u64(number, UINT64_MAX, &n))
        return false;
    for (const struct unit *u = units; u->name != NULL; u++)
        if (bytes_is(unit, u->name))
            return !__builtin_mul_overflow(n, u->size, out);
    suggest_unit(number, unit, units, error);
    return false;
}

static void format_quantity(uint64_t v, const struct unit *units, struct buf *out) {
    const struct unit *best = units;
    for (const struct unit *u = units; u->name != NULL; u++)
        if (v > 0 && v % u->size == 0)
            best = u;
    buf_printf(out, "%lu%s", v / best->size, best->name);
}

void option_format_duration(uint64_t us, struct buf *out) {
    if (us == 0)
        buf_add_str(out, "0s");
    else
        format_quantity(us, durations, out);
}

/* Which type the row's values have: of a list or map, its elements. */
static enum option_type scalar_type(const struct option *row) {
    return row->type == OPTION_LIST || row->type == OPTION_MAP ? row->scalar : row->type;
}

/* min and max of a list or map count its elements. */
static bool bounded(const struct option *row) {
    return row->type != OPTION_LIST && row->type != OPTION_MAP;
}

static bool within(const struct option *row, double v) {
    return !bounded(row) || (v >= row->min && (row->max == 0 || v <= row->max));
}

/* ---- What was expected ---- */

static const char *expected(enum option_type type) {
    switch (type) {
    case OPTION_BOOL:
        return "true or false";
    case OPTION_COUNT:
        return "a whole number";
    case OPTION_REAL:
        return "a number";
    case OPTION_SIZE:
        return "a size such as 512, 16KiB or 8MiB";
    case OPTION_DURATION:
        return "a duration such as 5ms, 10s, 2min, 24h or 30d";
    case OPTION_RATE:
        return "a rate such as 5/s, 120/min, 1000/h or 9/d";
    default:
        return "text that is not empty";
    }
}

static void format_bound(enum option_type type, double v, struct buf *out) {
    if (type == OPTION_SIZE)
        format_quantity((uint64_t)v, sizes, out);
    else if (type == OPTION_DURATION)
        option_format_duration((uint64_t)v, out);
    else
        buf_printf(out, "%.15g", v);
}

static void explain_scalar(const struct option *row, struct bytes text,
                           struct scalar_error *error) {
    enum option_type type = scalar_type(row);
    struct buf b;
    buf_init(&b, sizeof(error->why) - 1);
    buf_add_str(&b, "expected ");
    buf_add_str(&b, expected(type));
    if (bounded(row) && row->max != 0) {
        buf_add_str(&b, ", ");
        format_bound(type, row->min, &b);
        buf_add_str(&b, " to ");
        format_bound(type, row->max, &b);
    } else if (bounded(row) && row->min != 0) {
        buf_add_str(&b, ", at least ");
        format_bound(type, row->min, &b);
    }
    if (text.len > 0 && text.len <= 40) {
        buf_add_str(&b, ", not '");
        buf_add_bytes(&b, text);
        buf_add_char(&b, '\'');
    }
    snprintf(error->why, sizeof(error->why), "%.*s", (int)b.len, b.len > 0 ? b.at : "");
    buf_free(&b);
}

/* ---- One parser a type ---- */

static void set_hint(struct scalar_error *error, const char *hint) {
    snprintf(error->hint, sizeof(error->hint), "%s", hint);
}

static bool parse_bool(struct bytes text, bool *out, struct scalar_error *error) {
    static const char *const yes[] = {"yes", "on", "y", "True", "TRUE", "1", NULL};
    static const char *const no[] = {"no", "off", "n", "False", "FALSE", "0", NULL};
    *out = bytes_is(text, "true");
    for (const char *const *w = yes; *w != NULL; w++)
        if (bytes_is(text, *w))
            set_hint(error, "did you mean 'true'?");
    for (const char *const *w = no; *w != NULL; w++)
        if (bytes_is(text, *w))
            set_hint(error, "did you mean 'false'?");
    return *out || bytes_is(text, "false");
}

/* strtod takes more than a configuration should: nan, inf, hexadecimal, spaces. */
static bool parse_real(struct bytes text, double *out) {
    char copy[64], *end;
    if (text.len == 0 || text.len >= sizeof(copy))
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (strchr("0123456789+-.eE", text.at[i]) == NULL)
            return false;
    memcpy(copy, text.at, text.len);
    copy[text.len] = '\0';
    *out = strtod(copy, &end);
    return *end == '\0' && end != copy && isfinite(*out);
}

static bool parse_rate(struct bytes text, struct rate *out, struct scalar_error *error) {
    struct bytes unit = text, count = bytes_cut(&unit, '/');
    if (!bytes_to_u64(count, RATE_COUNT_MAX, &out->count) || out->count == 0)
        return false;
    for (const struct unit *u = periods; u->name != NULL; u++)
        if (bytes_is(unit, u->name)) {
            out->period_us = u->size;
            return true;
        }
    suggest_unit(bytes_of(count.at, count.len + 1), unit, periods, error);
    return false;
}

/* min of a list or map counts its elements. */
static int first_word(const struct option *row) {
    return row->type == OPTION_WORD ? (int)row->min : 0;
}

static bool parse_word(const struct option *row, struct bytes text, int *out,
                       struct scalar_error *error) {
    for (int i = 0; row->words[i] != NULL; i++)
        if (bytes_is(text, row->words[i])) {
            *out = first_word(row) + i;
            return true;
        }
    error->words = row->words;
    return false;
}

static bool parse_plain(const struct option *row, struct bytes text, void *out,
                        struct scalar_error *error) {
    uint64_t *count = out;
    switch (scalar_type(row)) {
    case OPTION_BOOL:
        return parse_bool(text, out, error);
    case OPTION_COUNT:
        return bytes_to_u64(text, UINT64_MAX, count) && within(row, (double)*count);
    case OPTION_REAL:
        return parse_real(text, out) && within(row, *(double *)out);
    case OPTION_SIZE:
        return parse_quantity(text, sizes, count, error) && within(row, (double)*count);
    case OPTION_DURATION:
        return parse_quantity(text, durations, count, error) && within(row, (double)*count);
    case OPTION_RATE:
        return parse_rate(text, out, error);
    default:
        require(false && "not a scalar type");
    }
    return false;
}

bool option_parse(const struct option *row, struct bytes text, bool plain, void *out,
                  struct scalar_error *error) {
    enum option_type type = scalar_type(row);
    bool number = type == OPTION_BOOL || type == OPTION_COUNT || type == OPTION_REAL;
    *error = (struct scalar_error){.words = NULL};
    if (type == OPTION_STRING || type == OPTION_FILE) {
        *(struct bytes *)out = text;
        if (text.len > 0)
            return true;
    } else if (type == OPTION_WORD) {
        if (parse_word(row, text, out, error))
            return true;
        snprintf(error->why, sizeof(error->why), "unknown value '%.*s'",
                 (int)(text.len < 60 ? text.len : 60), text.at);
        return false;
    } else if (number && !plain) {
        set_hint(error, "without the quotes");
    } else if (parse_plain(row, text, out, error)) {
        return true;
    }
    explain_scalar(row, text, error);
    return false;
}

/* ---- And back ---- */

static void format_real(double v, struct buf *out) {
    char text[40];
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(text, sizeof(text), "%.*g", precision, v);
        if (strtod(text, NULL) == v)
            break;
    }
    buf_add_str(out, text);
}

static void format_rate(const struct rate *r, struct buf *out) {
    const struct unit *u = periods;
    while (u->name != NULL && u->size != r->period_us)
        u++;
    buf_printf(out, "%lu/%s", r->count, u->name != NULL ? u->name : "?");
}

void option_format(const struct option *row, const void *value, struct buf *out) {
    const uint64_t *count = value;
    switch (scalar_type(row)) {
    case OPTION_BOOL:
        buf_add_str(out, *(const bool *)value ? "true" : "false");
        break;
    case OPTION_COUNT:
        buf_add_u64(out, *count);
        break;
    case OPTION_REAL:
        format_real(*(const double *)value, out);
        break;
    case OPTION_SIZE:
        format_quantity(*count, sizes, out);
        break;
    case OPTION_DURATION:
        option_format_duration(*count, out);
        break;
    case OPTION_RATE:
        format_rate(value, out);
        break;
    case OPTION_WORD:
        buf_add_str(out, row->words[*(const int *)value - first_word(row)]);
        break;
    default:
        buf_add_bytes(out, *(const struct bytes *)value);
    }
}

size_t option_size(enum option_type type) {
    switch (type) {
    case OPTION_BOOL:
        return sizeof(bool);
    case OPTION_WORD:
        return sizeof(int);
    case OPTION_RATE:
        return sizeof(struct rate);
    case OPTION_STRING:
    case OPTION_FILE:
        return sizeof(struct bytes);
    default:
        return sizeof(uint64_t);
    }
}
