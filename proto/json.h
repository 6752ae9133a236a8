/* json.h - a strict JSON reader without a tree, and a writer.
 *
 * RFC 8259 and nothing else: no NaN, no comments, no trailing bytes, no BOM, no duplicate keys, no
 * lone surrogates, no invalid UTF-8.  Bounded by JSON_* of base/limits.h.  O(1) stack, no memory
 * but the arena (for strings with escapes, and for the keys of an object while it is open).
 *
 * The text must have BODY_PADDING readable bytes behind it.  Every function returns false (or
 * JSON_BAD) once anything was wrong; the first error and its offset are kept in r->error. */
#ifndef QG_JSON_H
#define QG_JSON_H

#include "../proxy/base/arena.h"
#include "../proxy/base/buf.h"
#include "predictions.h"

enum json_type {
    JSON_BAD, /* an error, or the end */
    JSON_NULL,
    JSON_BOOL,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

enum json_failure {
    JSON_FINE,
    JSON_MALFORMED,
    JSON_DUPLICATE_KEY,
    JSON_LIMIT, /* depth, keys, string or number length */
    JSON_RANGE, /* a number that its datatype cannot hold */
    JSON_TYPE,  /* not the type that was asked for */
    JSON_NO_MEMORY,
};

struct json_level; /* an open object's or array's bookkeeping */

struct json_reader {
    const char *start, *at, *end;
    struct arena *arena;
    uint32_t depth;
    struct json_level *levels; /* JSON_DEPTH_MAX + 1 of them: the first is the document */
    enum json_failure failure;
    const char *error;   /* static text: "duplicate key", "expected a number", ... */
    size_t error_offset; /* in the text */
};

/* False: out of memory. */
MUST bool json_start(struct json_reader *r, struct arena *arena, struct bytes text);

/* The type of the value that comes next, without reading it. */
enum json_type json_peek(struct json_reader *r);

/* Objects: json_enter_object, then json_key until it says false (the end, or an error: look at
 * r->failure); each key's value must be read or skipped before the next.  *key is decoded. */
MUST bool json_enter_object(struct json_reader *r);
MUST bool json_key(struct json_reader *r, struct bytes *key);

/* Arrays: json_enter_array, then json_element until it says false; read or skip each element. */
MUST bool json_enter_array(struct json_reader *r);
MUST bool json_element(struct json_reader *r);

MUST bool json_read_bool(struct json_reader *r, bool *out);
MUST bool json_read_string(struct json_reader *r,
                           struct bytes *out);                 /* decoded: from text or arena */
MUST bool json_read_u64(struct json_reader *r, uint64_t *out); /* no sign, point or exponent */
MUST bool json_read_double(struct json_reader *r, double *out);
MUST bool json_read_null(struct json_reader *r);

/* Reads over any one value, checking it in full.  *span (may be NULL): its text. */
MUST bool json_skip(struct json_reader *r, struct bytes *span);

/* A tensor's elements: one array, flat or nested (any nesting within JSON_DEPTH_MAX whose leaves
 * are all of one kind and, if nested, whose arrays of one level are all of one length), into
 * packed little-endian elements of `type` from the arena.
 *   floats: any JSON number, correctly rounded to the type; a value that overflows it is JSON_RANGE
 *   ints:   no point, no exponent, within range
 *   BOOL:   true, false, 0, 1
 *   BYTES:  strings, decoded, each with its 4-byte length in front
 * At most `most` elements (more is JSON_LIMIT).  *t gets data, text and elements; and
 * nested_rank/nested_shape say the nesting found (rank 1 when flat).
 * This is the hot loop: 800 MB/s and more on 17-digit floats. */
struct json_tensor {
    struct bytes data, text;
    uint64_t elements;
    uint32_t nested_rank;
    uint64_t nested_shape[JSON_DEPTH_MAX];
};
MUST bool json_tensor(struct json_reader *r, enum dtype type, uint64_t most, struct json_tensor *t);

/* The same for floats that nobody will look at: it accepts and refuses what json_tensor does, in
 * less time, and leaves data empty.  Other types are read as by json_tensor. */
MUST bool json_tensor_check(struct json_reader *r, enum dtype type, uint64_t most,
                            struct json_tensor *t);

/* After the top-level value: nothing but white space may follow. */
MUST bool json_end(struct json_reader *r);

/* Writing.  Numbers print so that reading them back as `type` gives the same value:
 * FP32 (and FP16, BF16) the shortest that does, FP64 the shortest of 17 digits or fewer; integers
 * exactly.  v must be finite. */
void json_write_double(struct buf *b, double v);
void json_write_float(struct buf *b, float v);
/* v = n x 10^-digits, printed as a decimal fraction without exponent: 0.25, 1, -3.5 (trailing zeros
 * go).  digits <= 15, |n| < 2^53. */
void json_write_grid(struct buf *b, int64_t n, int digits);
/* n elements of a tensor's canonical form as a flat JSON array.  False: an element is not finite,
 * or BYTES that are not UTF-8. */
MUST bool json_write_tensor(struct buf *b, enum dtype type, struct bytes data, uint64_t elements);

#endif
