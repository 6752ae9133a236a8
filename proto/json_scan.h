/* json_scan.h - what the reader's files share.  Private to proto/json*.c. */
#ifndef QG_JSON_SCAN_H
#define QG_JSON_SCAN_H

#include "json.h"

/* Keeps the first error; always false. */
bool json_fail(struct json_reader *r, enum json_failure failure, const char *at, const char *error);

/* A value of type `want` is due and comes next: r->at is put on its first byte.  False: failed. */
MUST bool json_begin(struct json_reader *r, enum json_type want);

/* The value that was due has been read; the text goes on at `at`. */
void json_done(struct json_reader *r, const char *at);

/* A string as it stands between its quotes. */
struct json_raw {
    struct bytes text;
    bool escaped; /* it has backslashes: needs json_unescape */
};

/* The string whose opening quote is at `at`, checked in full.  The byte behind its closing quote;
 * NULL: failed. */
MUST const char *json_raw_string(struct json_reader *r, const char *at, struct json_raw *raw);

/* Decodes a checked string.  Returns how many bytes went to `to`: never more than the text has. */
size_t json_unescape(struct bytes text, char *to);

static inline const char *json_space(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
        at++;
    return at;
}

/* What kind of value starts with c. */
enum json_type json_type_of(char c);

#endif
