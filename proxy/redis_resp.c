#include "redis_resp.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/require.h"

/* After our own headers: read.h has macros of names that are ours (REDIS_OK). */
#include <hiredis/hiredis.h>

/* A reply is kept as the list of its values in the order they came.  While it grows, a text's
 * place in `texts` stands in its `integer`: the buffer may still move. */
struct resp {
    redisReader *reader;
    const struct resp_limits *limits;
    struct redis_value *values;
    uint32_t count, room;
    struct buf texts;
    bool error;
};

enum { FRAMING_MAX = 32 }; /* around a text: type, length, line ends */

static struct resp *resp_of(const redisReadTask *task) {
    return task->privdata;
}

/* NULL makes hiredis give up, as if there were no memory. */
static void *add(struct resp *r, struct redis_value value) {
    if (r->count == r->limits->items)
        return NULL;
    if (r->count == r->room) {
        uint32_t room = r->room > 0 ? 2 * r->room : 8;
        struct redis_value *more = realloc(r->values, room * sizeof(*more));
        if (more == NULL)
            return NULL;
        r->values = more;
        r->room = room;
    }
    r->values[r->count++] = value;
    return r;
}

static void *create_string(const redisReadTask *task, char *at, size_t len) {
    struct resp *r = resp_of(task);
    if (task->type == REDIS_REPLY_ERROR) {
        if (task->parent != NULL)
            return NULL; /* A reply is good or an error, not both. */
        r->error = true;
    }
    if (len > r->limits->bytes - r->texts.len)
        return NULL;
    struct redis_value value = {
        .type = REDIS_TEXT, .integer = (int64_t)r->texts.len, .text.len = len};
    buf_add(&r->texts, at, len);
    return r->texts.failed ? NULL : add(r, value);
}

static uint32_t depth_of(const redisReadTask *task) {
    uint32_t depth = 1;
    while ((task = task->parent) != NULL)
        depth++;
    return depth;
}

static void *create_array(const redisReadTask *task, int elements) {
    struct resp *r = resp_of(task);
    if (depth_of(task) > r->limits->depth || elements < 0 ||
        (uint32_t)elements > r->limits->items - r->count)
        return NULL;
    return add(r, (struct redis_value){.type = REDIS_ARRAY, .integer = elements});
}

static void *create_integer(const redisReadTask *task, long long value) {
    return add(resp_of(task), (struct redis_value){.type = REDIS_INTEGER, .integer = value});
}

static void *create_nil(const redisReadTask *task) {
    return add(resp_of(task), (struct redis_value){.type = REDIS_NIL});
}

static void free_object(void *object) {
    (void)object;
}

static redisReplyObjectFunctions functions = {.createString = create_string,
                                              .createArray = create_array,
                                              .createInteger = create_integer,
                                              .createNil = create_nil,
                                              .freeObject = free_object};

struct resp *resp_new(void) {
    struct resp *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    if ((r->reader = redisReaderCreateWithFunctions(&functions)) == NULL) {
        free(r);
        return NULL;
    }
    r->reader->privdata = r;
    buf_init(&r->texts, REDIS_SLOTS_BYTES_MAX);
    return r;
}

void resp_free(struct resp *r) {
    if (r == NULL)
        return;
    redisReaderFree(r->reader);
    buf_free(&r->texts);
    free(r->values);
    free(r);
}

bool resp_feed(struct resp *r, struct bytes data) {
    return redisReaderFeed(r->reader, data.at, data.len) == 0;
}

static void forget(struct resp *r) {
    r->count = 0;
    r->error = false;
    buf_clear(&r->texts);
}

/* hiredis waits for the whole of a bulk string, however long its header says it is: this looks at
 * the header it waits behind. */
static bool bulk_is_too_long(const struct resp *r) {
    const redisReader *reader = r->reader;
    if (reader->ridx < 0 || reader->rstack[reader->ridx].type != REDIS_REPLY_STRING)
        return false;
    uint64_t len = 0;
    for (size_t i = reader->pos; i < reader->len; i++) {
        unsigned digit = (unsigned)(unsigned char)reader->buf[i] - '0';
        if (digit > 9)
            return false;
        len = 10 * len + digit;
        if (len > r->limits->bytes)
            return true;
    }
    return false;
}

static bool is_over(const struct resp *r) {
    return r->reader->len - r->reader->pos > r->limits->bytes + FRAMING_MAX || bulk_is_too_long(r);
}

static void hand_out(struct resp *r, struct redis_reply *out) {
    for (uint32_t i = 0; i < r->count; i++) {
        struct redis_value *v = &r->values[i];
        if (v->type == REDIS_TEXT) {
            v->text.at = v->text.len > 0 ? r->texts.at + v->integer : NULL;
            v->integer = 0;
        }
    }
    out->array = r->values[0].type == REDIS_ARRAY;
    out->values = out->array ? r->values + 1 : r->values;
    out->count = out->array ? r->count - 1 : r->count;
}

enum resp_status resp_next(struct resp *r, const struct resp_limits *limits,
                           struct redis_reply *out) {
    void *whole = NULL;
    r->limits = limits;
    if (r->reader->ridx < 0)
        forget(r);
    if (redisReaderGetReply(r->reader, &whole) != 0)
        return RESP_BROKEN;
    if (whole == NULL)
        return is_over(r) ? RESP_BROKEN : RESP_MORE;
    require(r->count > 0);
    hand_out(r, out);
    return r->error ? RESP_ERROR : RESP_REPLY;
}

char *resp_command(int argc, const struct bytes *argv, size_t *len) {
    const char *at[REDIS_ARGS_MAX];
    size_t lens[REDIS_ARGS_MAX], room = REDIS_COMMAND_MAX;
    if (argc < 1 || argc > REDIS_ARGS_MAX)
        return NULL;
    for (int i = 0; i < argc; i++) {
        if (argv[i].len > room)
            return NULL;
        room -= argv[i].len;
        at[i] = argv[i].len > 0 ? argv[i].at : "";
        lens[i] = argv[i].len;
    }
    char *command = NULL;
    int total = redisFormatCommandArgv(&command, argc, at, lens);
    if (total < 0)
        return NULL;
    *len = (size_t)total;
    return command;
}

void resp_command_free(char *command) {
    redisFreeCommand(command);
}
