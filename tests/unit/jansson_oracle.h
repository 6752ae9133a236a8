/* jansson_oracle.h - jansson beside the reader it checks.
 *
 * jansson.h and proto/json.h share the names of types; a test that needs both includes this instead
 * of jansson.h.  Mind that json_is_array and the like expand to our names: compare json_typeof with
 * JANSSON_ARRAY and so on. */
#ifndef QG_JANSSON_ORACLE_H
#define QG_JANSSON_ORACLE_H

#define JSON_OBJECT JANSSON_OBJECT
#define JSON_ARRAY  JANSSON_ARRAY
#define JSON_STRING JANSSON_STRING
#define JSON_NULL   JANSSON_NULL
#include <jansson.h>
#undef JSON_OBJECT
#undef JSON_ARRAY
#undef JSON_STRING
#undef JSON_NULL

#include "../../proto/json.h"

#define JANSSON_STRICT                                                                             \
    (JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL)

/* Whether the value r reads is the one jansson has, read with JANSSON_STRICT.  It recurses: the
 * reader must have accepted the text before. */
static inline bool same_as_jansson(struct json_reader *r, const json_t *want) {
    struct bytes key, s;
    double d;
    bool t, same = true;
    size_t n = 0;
    if (want == NULL)
        return false;
    switch (json_peek(r)) {
    case JSON_OBJECT:
        for (same = json_enter_object(r); same && json_key(r, &key); n++)
            same = same_as_jansson(r, json_object_getn(want, key.at, key.len));
        return same && json_typeof(want) == JANSSON_OBJECT && n == json_object_size(want);
    case JSON_ARRAY:
        for (same = json_enter_array(r); same && json_element(r); n++)
            same = same_as_jansson(r, json_array_get(want, n));
        return same && json_typeof(want) == JANSSON_ARRAY && n == json_array_size(want);
    case JSON_STRING:
        return json_read_string(r, &s) && json_typeof(want) == JANSSON_STRING &&
               bytes_eq(s, bytes_of(json_string_value(want), json_string_length(want)));
    case JSON_NUMBER:
        return json_read_double(r, &d) && json_is_real(want) && d == json_real_value(want);
    case JSON_BOOL:
        return json_read_bool(r, &t) && json_is_boolean(want) && t == json_is_true(want);
    default:
        return json_read_null(r) && json_typeof(want) == JANSSON_NULL;
    }
}

#endif
