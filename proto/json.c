/* The reader keeps a stack of open objects and arrays, and in each the one fact that makes the
 * grammar: whether a value is due next.  json_key and json_element make one due, reading a value
 * settles it; so a caller that skips a step is stopped here, not by a wrong answer. */
#include "json.h"

#include <pthread.h>
#include <sys/random.h>

#include "../proxy/base/hash.h"
#include "../proxy/base/limits.h"
#include "../proxy/base/require.h"
#include "json_number.h"
#include "json_scan.h"

#define KEYS_FIRST 16 /* room for as many to begin with */

struct json_level {
    bool object;
    bool begun; /* it had an element: a comma comes before the next */
    bool due;   /* a value comes next */
    uint32_t keys, room;
    uint32_t *hashes; /* of the keys so far; both kept for the next object on this level */
    struct bytes *names;
};

static struct json_level *top(const struct json_reader *r) {
    return &r->levels[r->depth];
}

bool json_fail(struct json_reader *r, enum json_failure failure, const char *at,
               const char *error) {
    if (r->failure == JSON_FINE) {
        r->failure = failure;
        r->error = error;
        r->error_offset = (size_t)((at < r->end ? at : r->end) - r->start);
    }
    return false;
}

static bool malformed(struct json_reader *r, const char *error) {
    return json_fail(r, JSON_MALFORMED, r->at, error);
}

bool json_start(struct json_reader *r, struct arena *arena, struct bytes text) {
    const char *at = text.len > 0 ? text.at : "";
    *r = (struct json_reader){.start = at, .at = at, .end = at + text.len, .arena = arena};
    r->levels = arena_new_array(arena, struct json_level, JSON_DEPTH_MAX + 1);
    if (r->levels == NULL)
        return json_fail(r, JSON_NO_MEMORY, at, "out of memory");
    r->levels[0].due = true;
    return true;
}

enum json_type json_type_of(char c) {
    switch (c) {
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case '"':
        return JSON_STRING;
    case 't':
    case 'f':
        return JSON_BOOL;
    case 'n':
        return JSON_NULL;
    default:
        return c == '-' || (c >= '0' && c <= '9') ? JSON_NUMBER : JSON_BAD;
    }
}

enum json_type json_peek(struct json_reader *r) {
    if (r->failure != JSON_FINE || !top(r)->due)
        return JSON_BAD;
    r->at = json_space(r->at, r->end);
    enum json_type type = r->at < r->end ? json_type_of(*r->at) : JSON_BAD;
    if (type == JSON_BAD)
        malformed(r, "expected a value");
    return type;
}

static const char *const expected[] = {
    [JSON_NULL] = "expected null",       [JSON_BOOL] = "expected true or false",
    [JSON_NUMBER] = "expected a number", [JSON_STRING] = "expected a string",
    [JSON_ARRAY] = "expected an array",  [JSON_OBJECT] = "expected an object",
};

bool json_begin(struct json_reader *r, enum json_type want) {
    enum json_type type = json_peek(r);
    require(r->failure != JSON_FINE || top(r)->due);
    if (type == want)
        return true;
    return type != JSON_BAD && json_fail(r, JSON_TYPE, r->at, expected[want]);
}

void json_done(struct json_reader *r, const char *at) {
    top(r)->due = false;
    r->at = at;
}

static bool open_level(struct json_reader *r, enum json_type type) {
    if (!json_begin(r, type))
        return false;
    if (r->depth == JSON_DEPTH_MAX)
        return json_fail(r, JSON_LIMIT, r->at, "nested too deep");
    json_done(r, r->at + 1);
    r->depth++;
    struct json_level *level = top(r);
    level->object = type == JSON_OBJECT;
    level->begun = level->due = false;
    level->keys = 0;
    return true;
}

bool json_enter_object(struct json_reader *r) {
    return open_level(r, JSON_OBJECT);
}

bool json_enter_array(struct json_reader *r) {
    return open_level(r, JSON_ARRAY);
}

/* To where the next element starts.  False: the level was closed by `close`, or failed. */
static bool next_element(struct json_reader *r, char close, const char *error) {
    struct json_level *level = top(r);
    r->at = json_space(r->at, r->end);
    char c = r->at < r->end ? *r->at : '\0';
    if (c == close) {
        r->at++;
        r->depth--;
        return false;
    }
    if (level->begun) {
        if (c != ',')
            return malformed(r, error);
        r->at = json_space(r->at + 1, r->end);
    }
    level->begun = true;
    return true;
}

bool json_element(struct json_reader *r) {
    if (r->failure != JSON_FINE)
        return false;
    require(r->depth > 0 && !top(r)->object && !top(r)->due);
    if (!next_element(r, ']', "expected , or ]"))
        return false;
    top(r)->due = true;
    return json_peek(r) != JSON_BAD;
}

/* The decoded string: of the text, or of the arena. */
static bool decode(struct json_reader *r, const struct json_raw *raw, struct bytes *out) {
    *out = raw->text;
    if (!raw->escaped)
        return true;
    char *to = arena_alloc(r->arena, raw->text.len);
    if (to == NULL)
        return json_fail(r, JSON_NO_MEMORY, raw->text.at, "out of memory");
    *out = bytes_of(to, json_unescape(raw->text, to));
    return true;
}

static struct hash_key key_of_keys;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static void draw_key(void) {
    require(getrandom(&key_of_keys, sizeof(key_of_keys), 0) == sizeof(key_of_keys));
}

static uint32_t hash_of(struct bytes key) {
    return (uint32_t)hash_bytes(&key_of_keys, key);
}

/* Few objects have many keys: room for some, then, once, for all that may come, and their hashes.
 * The hash is keyed, so that nobody can choose keys that all have to be compared. */
static bool make_room(struct json_reader *r, struct json_level *level) {
    uint32_t room = level->room == 0 ? KEYS_FIRST : JSON_KEYS_MAX;
    struct bytes *names = arena_new_array(r->arena, struct bytes, room);
    uint32_t *hashes = NULL;
    if (names == NULL)
        return json_fail(r, JSON_NO_MEMORY, r->at, "out of memory");
    if (level->room > 0) {
        if ((hashes = arena_new_array(r->arena, uint32_t, room)) == NULL)
            return json_fail(r, JSON_NO_MEMORY, r->at, "out of memory");
        pthread_once(&key_once, draw_key);
        memcpy(names, level->names, level->keys * sizeof(*names));
        for (uint32_t i = 0; i < level->keys; i++)
            hashes[i] = hash_of(names[i]);
    }
    level->names = names;
    level->hashes = hashes;
    level->room = room;
    return true;
}

/* The few first keys are compared with each other; more are compared by their hashes. */
static bool is_known(const struct json_level *level, struct bytes key, uint32_t hash) {
    for (uint32_t i = 0; i < level->keys; i++)
        if ((level->hashes == NULL || level->hashes[i] == hash) && bytes_eq(level->names[i], key))
            return true;
    return false;
}

static bool remember_key(struct json_reader *r, const char *at, struct bytes key) {
    struct json_level *level = top(r);
    if (level->keys == JSON_KEYS_MAX)
        return json_fail(r, JSON_LIMIT, at, "too many keys");
    if (level->keys == level->room && !make_room(r, level))
        return false;
    uint32_t hash = level->hashes != NULL ? hash_of(key) : 0;
    if (is_known(level, key, hash))
        return json_fail(r, JSON_DUPLICATE_KEY, at, "duplicate key");
    if (level->hashes != NULL)
        level->hashes[level->keys] = hash;
    level->names[level->keys++] = key;
    return true;
}

bool json_key(struct json_reader *r, struct bytes *key) {
    *key = bytes_of(NULL, 0);
    if (r->failure != JSON_FINE)
        return false;
    require(r->depth > 0 && top(r)->object && !top(r)->due);
    if (!next_element(r, '}', "expected , or }"))
        return false;
    if (r->at >= r->end || *r->at != '"')
        return malformed(r, "expected a key");
    struct json_raw raw;
    const char *at = r->at, *behind = json_raw_string(r, at, &raw);
    if (behind == NULL || !decode(r, &raw, key) || !remember_key(r, at, *key))
        return false;
    r->at = json_space(behind, r->end);
    if (r->at >= r->end || *r->at != ':')
        return malformed(r, "expected :");
    r->at++;
    top(r)->due = true;
    return true;
}

static bool literal(struct json_reader *r, const char *word) {
    size_t n = strlen(word);
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n) != 0)
        return malformed(r, "expected a value");
    json_done(r, r->at + n);
    return true;
}

bool json_read_bool(struct json_reader *r, bool *out) {
    *out = false;
    if (!json_begin(r, JSON_BOOL))
        return false;
    *out = *r->at == 't';
    return literal(r, *out ? "true" : "false");
}

bool json_read_null(struct json_reader *r) {
    return json_begin(r, JSON_NULL) && literal(r, "null");
}

static bool raw_string(struct json_reader *r, struct json_raw *raw) {
    if (!json_begin(r, JSON_STRING))
        return false;
    const char *behind = json_raw_string(r, r->at, raw);
    if (behind == NULL)
        return false;
    json_done(r, behind);
    return true;
}

bool json_read_string(struct json_reader *r, struct bytes *out) {
    struct json_raw raw;
    *out = bytes_of(NULL, 0);
    return raw_string(r, &raw) && decode(r, &raw, out);
}

static bool number(struct json_reader *r, struct json_number *n) {
    bool too_long = false;
    if (!json_begin(r, JSON_NUMBER))
        return false;
    const char *behind = json_number_quick(r->at, n);
    if (behind == NULL || behind >= r->end)
        behind = json_number_scan(r->at, r->end, n, &too_long);
    if (behind == NULL)
        return json_fail(r, too_long ? JSON_LIMIT : JSON_MALFORMED, r->at,
                         too_long ? "number too long" : "malformed number");
    json_done(r, behind);
    return true;
}

bool json_read_u64(struct json_reader *r, uint64_t *out) {
    struct json_number n;
    *out = 0;
    if (!number(r, &n))
        return false;
    if (!n.whole || n.negative)
        return json_fail(r, JSON_TYPE, n.at, "expected digits only");
    return json_number_integer(&n, DTYPE_UINT64, out) ||
           json_fail(r, JSON_RANGE, n.at, "number out of range");
}

bool json_read_double(struct json_reader *r, double *out) {
    struct json_number n;
    *out = 0;
    if (!number(r, &n))
        return false;
    return json_number_fp64(&n, out) || json_fail(r, JSON_RANGE, n.at, "number out of range");
}

static bool skip_scalar(struct json_reader *r, enum json_type type) {
    struct json_raw raw;
    double number_value;
    bool truth;
    switch (type) {
    case JSON_NULL:
        return json_read_null(r);
    case JSON_BOOL:
        return json_read_bool(r, &truth);
    case JSON_NUMBER:
        return json_read_double(r, &number_value);
    case JSON_STRING:
        return raw_string(r, &raw);
    default:
        return false;
    }
}

/* Opens or reads what is due. */
static bool skip_step(struct json_reader *r) {
    enum json_type type = json_peek(r);
    if (type == JSON_OBJECT || type == JSON_ARRAY)
        return open_level(r, type);
    return skip_scalar(r, type);
}

bool json_skip(struct json_reader *r, struct bytes *span) {
    struct bytes key;
    if (span != NULL)
        *span = bytes_of(NULL, 0);
    if (json_peek(r) == JSON_BAD)
        return false;
    const char *first = r->at;
    uint32_t depth = r->depth;
    do {
        if (r->depth == depth || (top(r)->object ? json_key(r, &key) : json_element(r)))
            (void)!skip_step(r);
    } while (r->failure == JSON_FINE && r->depth > depth);
    if (r->failure != JSON_FINE)
        return false;
    if (span != NULL)
        *span = bytes_of(first, (size_t)(r->at - first));
    return true;
}

bool json_end(struct json_reader *r) {
    if (r->failure != JSON_FINE)
        return false;
    require(r->depth == 0);
    if (top(r)->due)
        return malformed(r, "expected a value");
    r->at = json_space(r->at, r->end);
    return r->at == r->end || malformed(r, "bytes behind the end");
}
