/* redis_resp.h - Redis' protocol (RESP2): commands to bytes, bytes to replies.  The only file that
 * sees hiredis.
 *
 * Replies are hostile: lengths are believed only within limits, which are looked at before memory
 * is taken. */
#ifndef QG_REDIS_RESP_H
#define QG_REDIS_RESP_H

#include "redis.h"

struct resp; /* reads one connection's replies */

struct resp_limits {
    uint32_t depth; /* of arrays; 1: an array of plain values */
    uint32_t items; /* values in a reply, arrays counted */
    size_t bytes;   /* not yet read, and texts of the reply that is being read */
};

enum resp_status {
    RESP_MORE,   /* no whole reply yet */
    RESP_REPLY,  /* *out is one; valid until the next call */
    RESP_ERROR,  /* the same, and it is the server's -ERR... */
    RESP_BROKEN, /* not RESP2, over the limits, or no memory: of no more use */
};

struct resp *resp_new(void);
void resp_free(struct resp *r);

/* False: out of memory. */
MUST bool resp_feed(struct resp *r, struct bytes data);
MUST enum resp_status resp_next(struct resp *r, const struct resp_limits *limits,
                                struct redis_reply *out);

/* The command as bytes, to be freed with resp_command_free.  NULL: over the limits or no memory. */
char *resp_command(int argc, const struct bytes *argv, size_t *len);
void resp_command_free(char *command);

#endif
