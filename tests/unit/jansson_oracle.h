/* jansson_oracle.h - jansson beside the reader it checks.
 *
 * jansson.h and proto/json.h share names; a test that needs both includes this instead of
 * jansson.h.  Nobody here needs the constructors that are renamed; but mind that json_is_array and
 * the like expand to our names: compare json_typeof with JANSSON_ARRAY and so on. */
#ifndef QG_JANSSON_ORACLE_H
#define QG_JANSSON_ORACLE_H

#define json_object jansson_object
#define json_array jansson_array
#define json_string jansson_string
#define json_null jansson_null
#define JSON_OBJECT JANSSON_OBJECT
#define JSON_ARRAY JANSSON_ARRAY
#define JSON_STRING JANSSON_STRING
#define JSON_NULL JANSSON_NULL
#include <jansson.h>
#undef json_object
#undef json_array
#undef json_string
#undef json_null
#undef JSON_OBJECT
#undef JSON_ARRAY
#undef JSON_STRING
#undef JSON_NULL

#endif
