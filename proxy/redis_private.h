/* redis_private.h - the parts of a worker's Redis: commands, links, nodes.
 *
 * redis.c           what callers see: commands, their deadlines, which link takes which
 * redis_link.c      one connection: connect, TLS, the steps of its role, then commands in order
 * redis_role.c      the steps: AUTH, SELECT, ROLE, PING, and the questions of an asker
 * redis_sentinel.c  who is the master
 * redis_cluster.c   who has which slot, and redirects
 * redis_slots.c     the slot of a key
 *
 * Where callbacks run: from redis_link.c for replies, and from redis.c's two events, for deadlines
 * and for what failed.  Whoever has called back looks at the link's epoch before going on: the
 * callback may have freed everything (which is then only parked). */
#ifndef QG_REDIS_PRIVATE_H
#define QG_REDIS_PRIVATE_H

#include <event2/event_struct.h>
#include <netinet/in.h>

#include "base/limits.h"
#include "redis.h"
#include "redis_resp.h"
#include "tls.h"
#include "worker.h"

enum { REDIS_SLOTS = 16384, REDIS_ADDRESS_TEXT = 64 };

struct redis_link;
struct redis_node;

struct redis_command {
    struct list place;       /* in its link's waiting or sent, or in redis->failed */
    struct list due;         /* in redis->due while somebody waits for it: by deadline */
    struct redis_link *link; /* NULL: in redis->failed */
    uint64_t deadline;       /* us */
    redis_done_fn *done;     /* NULL: nobody waits any more */
    void *cookie;
    char *wire;
    size_t len, written;
    uint64_t number; /* that the reply begins with; 0: none */
    uint16_t slot;
    uint8_t redirects;
    bool asking; /* ASKING goes before it */
    bool asked;  /* and was answered */
};

enum redis_state {
    LINK_IDLE,       /* not connected; its owner says when to try again */
    LINK_PAUSING,    /* not connected; tries again when the timer ends */
    LINK_CONNECTING, /* from here on the timer is the handshake's */
    LINK_SECURING,
    LINK_GREETING, /* one step of the role after the other */
    LINK_READY,    /* the timer watches for silence */
    LINK_CLOSED,   /* for ever: parked */
};

/* What one step sends, and what it makes of the reply. */
struct redis_step {
    /* The number of arguments; 0: this step is not needed; -1: impossible, *why says why. */
    int (*ask)(struct redis_link *l, struct bytes argv[REDIS_ARGS_MAX], const char **why);
    /* NULL: on to the next step.  Otherwise why the link is of no use. */
    const char *(*hear)(struct redis_link *l, const struct redis_reply *reply, bool error);
};

/* What a link is for. */
struct redis_role {
    const struct redis_step *steps;
    unsigned step_count;
    void (*dial)(struct redis_link *l);  /* a pause is over: where to? */
    void (*ready)(struct redis_link *l); /* all steps were taken */
    void (*lost)(struct redis_link *l);  /* was LINK_CONNECTING or later; now LINK_IDLE */
};

struct redis_link {
    struct parked parked;
    unsigned magic;
    struct redis *redis;
    struct redis_node *node; /* NULL: an asker */
    const struct redis_role *role;
    enum redis_state state;
    unsigned epoch; /* changes with every connection, and when it ends */
    unsigned attempts;
    struct sock sock;
    struct event readable, writable;
    bool blocked; /* waits for writable */
    struct timer timer;
    uint64_t heard; /* us: the last byte, or when there was first something to wait for */
    struct resp *resp;
    struct list waiting; /* commands that are not, or not wholly, written */
    struct list sent;    /* and those that are: replies come in this order */
    unsigned step;
    char *hello; /* what the step sends */
    size_t hello_len, hello_written;
    struct buf secret;             /* the password, while its step is being formatted */
    const struct redis_node *peer; /* asker: whom it asks */
};

struct redis_node {
    struct parked parked;
    struct sockaddr_storage at;
    socklen_t len;
    struct bytes name; /* for TLS and for people: in the configuration, or text */
    char text[REDIS_ADDRESS_TEXT];
    bool known;          /* the address is set */
    uint64_t redirected; /* us: Cluster: when a redirect last named it */
    struct redis_link *links[REDIS_CONNECTIONS];
};

struct redis {
    struct parked parked;
    unsigned magic;
    struct worker *worker;
    const struct store_conf *conf;
    struct redis_node **nodes; /* one, or a Cluster's: NULL where one left */
    unsigned node_count;
    const struct redis_role *role; /* of the nodes' links */
    struct list due, failed;
    int timer; /* CLOCK_MONOTONIC, for the first deadline */
    struct event deadline, deliver;
    uint64_t number; /* the last that was used; whole as a double, for Lua has nothing else */
    uint32_t count;  /* commands */
    size_t bytes;
    bool armed;    /* the deadline event is */
    bool lost;     /* it was said that nothing is connected */
    unsigned turn; /* which node is next for what has no key */
    /* Sentinel and Cluster. */
    struct redis_link *asker;
    unsigned cursor;         /* whom to ask next */
    struct redis_node peer;  /* whom it asks */
    struct redis_node found; /* Sentinel: what it was told, and the epoch of that */
    uint64_t found_epoch, epoch;
    bool resting;     /* Sentinel: the asker waits until it is time to ask again */
    uint64_t asked;   /* us: when the slots were last asked for */
    uint16_t *owners; /* Cluster: of slots: index into nodes, or NO_NODE */
};
enum { NO_NODE = 0xffff };

/* redis_link.c */
struct redis_link *redis_link_new(struct redis *r, struct redis_node *node,
                                  const struct redis_role *role);
void redis_link_close(struct redis_link *l); /* its commands fail */
void redis_link_dial(struct redis_link *l, const struct redis_node *to);
/* Ends the connection without telling the role: it is LINK_IDLE again. */
void redis_link_hang_up(struct redis_link *l);
void redis_link_break(struct redis_link *l, const char *why);
void redis_link_retry(struct redis_link *l);              /* after a pause */
void redis_link_after(struct redis_link *l, uint64_t us); /* dials, from the loop */
void redis_link_flush(struct redis_link *l);              /* what waits, as far as can be now */
void redis_link_queue(struct redis_link *l, struct redis_command *c);
static inline bool redis_link_is_coming(const struct redis_link *l) {
    return l->state >= LINK_CONNECTING && l->state <= LINK_READY;
}

/* redis.c */
void redis_command_fail(struct redis *r, struct redis_command *c); /* REDIS_DOWN, soon */
void redis_command_done(struct redis *r, struct redis_command *c, enum redis_result result,
                        const struct redis_reply *reply);
struct redis_node *redis_node_new(struct redis *r); /* with links, LINK_IDLE; not yet in r->nodes */
void redis_node_free(struct redis_node *n);
struct redis_link *redis_node_link(const struct redis_node *n, uint16_t slot);
/* False: text is no IP address. */
MUST bool redis_node_set(struct redis_node *n, struct bytes ip, uint64_t port);
void redis_node_configured(struct redis_node *n, const struct address *a);
void redis_node_copy(struct redis_node *to, const struct redis_node *from); /* the address */
bool redis_node_is(const struct redis_node *a, const struct redis_node *b); /* at one address */
/* The host of the other, another port. */
MUST bool redis_node_same_host(struct redis_node *n, const struct redis_node *other, uint64_t port);
void redis_say_found(struct redis *r, const struct redis_node *peer);
void redis_say_lost(struct redis *r, const struct redis_node *peer, const char *why);

/* redis_role.c */
extern const struct redis_role redis_role_server, redis_role_master, redis_role_member,
    redis_role_sentinel, redis_role_map;
bool redis_code_is(struct bytes error, const char *code);
bool redis_leaves(struct bytes error); /* it is not the server to be connected to */

/* redis_sentinel.c */
const char *redis_sentinel_hear(struct redis_link *l, const struct redis_reply *reply);
void redis_sentinel_dial(struct redis_link *l);
void redis_sentinel_ready(struct redis_link *l);
void redis_sentinel_lost(struct redis_link *l);
void redis_master_ready(struct redis_link *l);
void redis_master_lost(struct redis_link *l);

/* redis_cluster.c */
const char *redis_map_hear(struct redis_link *l, const struct redis_reply *reply);
void redis_map_dial(struct redis_link *l);
void redis_map_ready(struct redis_link *l);
void redis_member_lost(struct redis_link *l);
struct redis_link *redis_cluster_link(struct redis *r, uint16_t slot); /* NULL: none */
/* c was answered -MOVED, -ASK or another error.  False: it is no redirect, or one too many. */
bool redis_cluster_redirect(struct redis_link *l, struct redis_command *c, struct bytes error);

/* redis_slots.c */
uint16_t redis_slot(struct bytes key);

#endif
