/* redis.h - a worker's connections to Redis: commands go out pipelined, each with a deadline.
 *
 * One server, a Sentinel-watched master or a Cluster, told by the URL; callers see one thing to
 * send commands to.  Nothing here blocks, and nothing is sent again once it may have been executed:
 * a command that may have reached a server that then broke off has failed, and the caller decides.
 *
 * hiredis reads and formats; connection, deadlines, TLS, redirects and reconnection are ours. */
#ifndef QG_REDIS_H
#define QG_REDIS_H

#include "policy.h"

struct redis;
struct worker;

enum redis_result {
    REDIS_OK,      /* reply is the server's */
    REDIS_ERROR,   /* the server said -ERR...: reply->text begins with its code */
    REDIS_TIMEOUT, /* no reply within the deadline; the late one is read and thrown away */
    REDIS_DOWN,    /* no connection, the queue is full, or it broke while the command was out */
};

/* A reply, flat: the commands we use answer with a status, an integer, a bulk string, or an array
 * of these.  Deeper ones break the connection (REDIS_DOWN). */
struct redis_value {
    enum redis_type {
        REDIS_NIL,
        REDIS_INTEGER,
        REDIS_TEXT,
        REDIS_ARRAY, /* within an array: only in what the connection itself asks for; `integer` of
                        the values behind it are its own */
    } type;
    int64_t integer;
    struct bytes text; /* valid until the callback returns */
};
struct redis_reply {
    bool array;
    uint32_t count; /* 1 when no array; at most REDIS_REPLY_ITEMS_MAX */
    const struct redis_value *values;
};

/* Called exactly once per command, from the worker's loop and never from within redis_send. */
typedef void redis_done_fn(void *cookie, enum redis_result, const struct redis_reply *);

/* NULL: out of memory.  Connects in the background and keeps doing so (with jitter). */
struct redis *redis_new(struct worker *w, const struct store_conf *conf);
/* Nothing that is pending is called back any more; it is still written as far as can be at once. */
void redis_free(struct redis *r);

/* A command of argc binary-safe arguments, copied.  key: the index of the argument whose hash slot
 * chooses the Cluster node (0: any).  False: not taken (queue full, no connection): done is not
 * called.  The deadline, from now, is the configuration's store.timeout. */
MUST bool redis_send(struct redis *r, int argc, const struct bytes *argv, int key,
                     redis_done_fn *done, void *cookie);

/* The same for a script, which is given one more argument at the end, a number, and answers with an
 * array that begins with it; the caller sees neither.  A server, or what stands before it, that
 * loses or invents a reply while it stays connected would have every later one taken for the answer
 * to another command: a reply without its number breaks the connection, and all that is out on it
 * has failed. */
MUST bool redis_send_numbered(struct redis *r, int argc, const struct bytes *argv, int key,
                              redis_done_fn *done, void *cookie);

/* Forgets the commands of cookie: they may be executed, their done is not called. */
void redis_cancel(struct redis *r, void *cookie);

/* Is there a connection that has passed its handshake (for Cluster: to some node)? */
bool redis_ready(const struct redis *r);

#endif
