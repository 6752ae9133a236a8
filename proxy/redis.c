#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/require.h"
#include "crypto.h"
#include "redis_private.h"

#define REDIS_MAGIC 0x52444953u
enum { NUMBER_TEXT = 21 };

static void command_free(struct redis *r, struct redis_command *c) {
    list_remove(&c->place);
    list_remove(&c->due);
    r->count--;
    r->bytes -= c->len;
    resp_command_free(c->wire);
    free(c);
}

void redis_command_done(struct redis *r, struct redis_command *c, enum redis_result result,
                        const struct redis_reply *reply) {
    redis_done_fn *done = c->done;
    void *cookie = c->cookie;
    command_free(r, c);
    if (done != NULL)
        done(cookie, result, reply);
}

void redis_command_fail(struct redis *r, struct redis_command *c) {
    if (c->done == NULL) {
        command_free(r, c);
        return;
    }
    list_remove(&c->place);
    list_push(&r->failed, &c->place);
    c->link = NULL;
    event_active(&r->deliver, EV_TIMEOUT, 0);
}

static void on_deliver(evutil_socket_t fd, short what, void *cookie) {
    struct redis *r = cookie;
    (void)fd, (void)what;
    require(r->magic == REDIS_MAGIC);
    while (!list_empty(&r->failed))
        redis_command_done(r, list_object(r->failed.next, struct redis_command, place), REDIS_DOWN,
                           NULL);
}

/* Nobody waits for c any more.  Once any of it may have been written its reply must still be
 * matched; and TLS may have taken what it could not yet write. */
static void abandon(struct redis *r, struct redis_command *c) {
    const struct redis_link *l = c->link;
    c->done = NULL;
    list_remove(&c->due);
    if (l == NULL || (c->written == 0 && !(l->blocked && l->sock.tls != NULL)))
        command_free(r, c);
}

/* Deadlines stand in the order in which they were given: all are equally far away.  They have a
 * kernel timer of their own because libevent's go by the coarse clock: 4 ms, twice. */
static void arm(struct redis *r) {
    if (list_empty(&r->due) || r->armed)
        return;
    uint64_t at = list_object(r->due.next, struct redis_command, due)->deadline;
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(at / 1000000), .tv_nsec = (long)(at % 1000000) * 1000}};
    r->armed = timerfd_settime(r->timer, TFD_TIMER_ABSTIME, &when, NULL) == 0;
}

static void on_deadline(evutil_socket_t fd, short what, void *cookie) {
    struct redis *r = cookie;
    uint64_t now = clock_us(), times;
    (void)what;
    require(r->magic == REDIS_MAGIC);
    if (read(fd, &times, sizeof(times)) < 0)
        return;
    r->armed = false;
    while (!list_empty(&r->due)) {
        struct redis_command *c = list_object(r->due.next, struct redis_command, due);
        if (c->deadline > now)
            break;
        redis_done_fn *done = c->done;
        void *for_whom = c->cookie;
        require(done != NULL);
        abandon(r, c);
        done(for_whom, REDIS_TIMEOUT, NULL);
    }
    arm(r);
}

static unsigned port_of(const struct redis_node *n) {
    if (n->at.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)&n->at)->sin_port);
    return ntohs(((const struct sockaddr_in6 *)&n->at)->sin6_port);
}

static _Atomic uint64_t said_at;

/* One line when the last connection is gone, of all workers together one in REDIS_LOG_PAUSE; and
 * by the worker that said so, one when there is one again. */
void redis_say_lost(struct redis *r, const struct redis_node *peer, const char *why) {
    uint64_t now = clock_us(), last = atomic_load(&said_at);
    if (r->lost || redis_ready(r) || (last != 0 && now - last < REDIS_LOG_PAUSE) ||
        !atomic_compare_exchange_strong(&said_at, &last, now))
        return;
    r->lost = true;
    log_line(LOG_WARNING, "Redis at %.*s, port %u: %s; trying again", (int)peer->name.len,
             peer->name.at, port_of(peer), why);
}

void redis_say_found(struct redis *r, const struct redis_node *peer) {
    if (!r->lost)
        return;
    r->lost = false;
    log_line(LOG_NOTICE, "Redis at %.*s, port %u: connected", (int)peer->name.len, peer->name.at,
             port_of(peer));
}

struct redis_node *redis_node_new(struct redis *r) {
    struct redis_node *n = calloc(1, sizeof(*n));
    if (n == NULL)
        return NULL;
    for (unsigned i = 0; i < REDIS_CONNECTIONS; i++) {
        n->links[i] = redis_link_new(r, n, r->role);
        if (n->links[i] == NULL) {
            redis_node_free(n);
            return NULL;
        }
    }
    return n;
}

static void node_release(struct parked *p) {
    free(p);
}

/* Parked: its links are, and they name it. */
void redis_node_free(struct redis_node *n) {
    struct worker *w = NULL;
    for (unsigned i = 0; i < REDIS_CONNECTIONS; i++)
        if (n->links[i] != NULL) {
            w = n->links[i]->redis->worker;
            redis_link_close(n->links[i]);
        }
    n->parked.free = node_release;
    if (w != NULL)
        worker_park(w, &n->parked);
    else
        free(n);
}

bool redis_node_set(struct redis_node *n, struct bytes ip, uint64_t port) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)&n->at;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&n->at;
    if (ip.len == 0 || ip.len >= sizeof(n->text) || port == 0 || port > UINT16_MAX ||
        memchr(ip.at, '\0', ip.len) != NULL)
        return false;
    memcpy(n->text, ip.at, ip.len);
    n->text[ip.len] = '\0';
    n->name = bytes_of(n->text, ip.len);
    memset(&n->at, 0, sizeof(n->at));
    if (inet_pton(AF_INET, n->text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        n->len = sizeof(*v4);
    } else if (inet_pton(AF_INET6, n->text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        n->len = sizeof(*v6);
    } else {
        return false;
    }
    return n->known = true;
}

bool redis_node_same_host(struct redis_node *n, const struct redis_node *other, uint64_t port) {
    if (port == 0 || port > UINT16_MAX)
        return false;
    redis_node_copy(n, other);
    if (n->at.ss_family == AF_INET)
        ((struct sockaddr_in *)&n->at)->sin_port = htons((uint16_t)port);
    else if (n->at.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&n->at)->sin6_port = htons((uint16_t)port);
    return n->known;
}

void redis_node_configured(struct redis_node *n, const struct address *a) {
    n->at = a->at;
    n->len = a->len;
    n->name = a->host;
    n->known = true;
}

void redis_node_copy(struct redis_node *to, const struct redis_node *from) {
    to->at = from->at;
    to->len = from->len;
    memcpy(to->text, from->text, sizeof(to->text));
    to->name = from->name.at == from->text ? bytes_of(to->text, from->name.len) : from->name;
    to->known = from->known;
}

bool redis_node_is(const struct redis_node *a, const struct redis_node *b) {
    return a->len == b->len && memcmp(&a->at, &b->at, a->len) == 0;
}

struct redis_link *redis_node_link(const struct redis_node *n, uint16_t slot) {
    struct redis_link *coming = NULL;
    for (unsigned i = 0; i < REDIS_CONNECTIONS; i++) {
        struct redis_link *l = n->links[(slot + i) % REDIS_CONNECTIONS];
        if (l->state == LINK_READY)
            return l;
        if (coming == NULL && redis_link_is_coming(l))
            coming = l;
    }
    return coming;
}

static bool node_is_ready(const struct redis_node *n) {
    const struct redis_link *l = n != NULL ? redis_node_link(n, 0) : NULL;
    return l != NULL && l->state == LINK_READY;
}

bool redis_ready(const struct redis *r) {
    for (unsigned i = 0; i < r->node_count; i++)
        if (node_is_ready(r->nodes[i]))
            return true;
    return false;
}

/* Any node's. */
static struct redis_link *next_link(struct redis *r, uint16_t slot) {
    for (unsigned i = 0; i < r->node_count; i++) {
        struct redis_node *n = r->nodes[(r->turn + i) % r->node_count];
        struct redis_link *l = n != NULL ? redis_node_link(n, slot) : NULL;
        if (l != NULL && l->state == LINK_READY)
            return l;
    }
    return NULL;
}

static struct redis_link *choose(struct redis *r, int argc, const struct bytes *argv, int key,
                                 uint16_t *slot) {
    bool keyed = key > 0 && key < argc;
    *slot = keyed ? redis_slot(argv[key]) : (uint16_t)(r->turn++ % REDIS_SLOTS);
    return keyed && r->owners != NULL ? redis_cluster_link(r, *slot) : next_link(r, *slot);
}

static struct redis_command *command_new(struct redis *r, int argc, const struct bytes *argv) {
    struct redis_command *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return NULL;
    c->wire = resp_command(argc, argv, &c->len);
    if (c->wire == NULL) {
        free(c);
        return NULL;
    }
    r->count++;
    r->bytes += c->len;
    list_init(&c->place);
    list_init(&c->due);
    return c;
}

/* number: what the reply begins with, 0 for none. */
static bool start(struct redis *r, int argc, const struct bytes *argv, int key, uint64_t number,
                  redis_done_fn *done, void *cookie) {
    uint16_t slot;
    require(r->magic == REDIS_MAGIC && done != NULL);
    if (r->count >= REDIS_QUEUE_MAX || r->bytes >= REDIS_QUEUE_BYTES_MAX)
        return false;
    struct redis_link *l = choose(r, argc, argv, key, &slot);
    struct redis_command *c = l != NULL ? command_new(r, argc, argv) : NULL;
    if (c == NULL)
        return false;
    c->slot = slot;
    c->number = number;
    c->done = done;
    c->cookie = cookie;
    c->deadline = clock_us() + r->conf->timeout;
    list_push(&r->due, &c->due);
    arm(r);
    redis_link_queue(l, c);
    return true;
}

bool redis_send(struct redis *r, int argc, const struct bytes *argv, int key, redis_done_fn *done,
                void *cookie) {
    return start(r, argc, argv, key, 0, done, cookie);
}

bool redis_send_numbered(struct redis *r, int argc, const struct bytes *argv, int key,
                         redis_done_fn *done, void *cookie) {
    struct bytes numbered[REDIS_ARGS_MAX];
    char text[NUMBER_TEXT];
    if (argc < 1 || argc >= REDIS_ARGS_MAX)
        return false;
    memcpy(numbered, argv, (size_t)argc * sizeof(*argv));
    int len = snprintf(text, sizeof(text), "%llu", (unsigned long long)++r->number);
    numbered[argc] = bytes_of(text, (size_t)len);
    return start(r, argc + 1, numbered, key, r->number, done, cookie);
}

void redis_cancel(struct redis *r, void *cookie) {
    require(r->magic == REDIS_MAGIC);
    for (struct list *n = r->due.next, *next; n != &r->due; n = next) {
        struct redis_command *c = list_object(n, struct redis_command, due);
        next = n->next;
        if (c->cookie == cookie)
            abandon(r, c);
    }
}

static void redis_release(struct parked *p) {
    struct redis *r = (struct redis *)p;
    free(r->nodes);
    free(r->owners);
    free(r);
}

static bool open_single(struct redis *r) {
    struct redis_node *n = redis_node_new(r);
    if (n == NULL)
        return false;
    r->nodes[r->node_count++] = n;
    if (r->conf->kind == STORE_SENTINEL)
        return (r->asker = redis_link_new(r, NULL, &redis_role_sentinel)) != NULL;
    redis_node_configured(n, &r->conf->servers[0].address);
    return true;
}

static bool open_cluster(struct redis *r) {
    r->owners = malloc(REDIS_SLOTS * sizeof(*r->owners));
    if (r->owners == NULL)
        return false;
    for (unsigned i = 0; i < REDIS_SLOTS; i++)
        r->owners[i] = NO_NODE;
    return (r->asker = redis_link_new(r, NULL, &redis_role_map)) != NULL;
}

struct redis *redis_new(struct worker *w, const struct store_conf *conf) {
    bool cluster = conf->kind == STORE_CLUSTER;
    require(conf->server_count > 0 && conf->timeout > 0);
    struct redis *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    r->parked.free = redis_release;
    r->magic = REDIS_MAGIC;
    r->worker = w;
    r->conf = conf;
    r->role = cluster                        ? &redis_role_member
              : conf->kind == STORE_SENTINEL ? &redis_role_master
                                             : &redis_role_server;
    /* From anywhere, so that replies to another gate, or another connection, are not ours either.
     */
    crypto_random(&r->number, sizeof(r->number));
    r->number >>= 12;
    list_init(&r->due);
    list_init(&r->failed);
    r->nodes = calloc(cluster ? REDIS_NODES_MAX : 1, sizeof(struct redis_node *));
    r->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (r->timer < 0 ||
        event_assign(&r->deadline, w->base, r->timer, EV_READ | EV_PERSIST, on_deadline, r) != 0 ||
        event_add(&r->deadline, NULL) != 0 ||
        evtimer_assign(&r->deliver, w->base, on_deliver, r) != 0 || r->nodes == NULL ||
        !(cluster ? open_cluster(r) : open_single(r))) {
        redis_free(r);
        return NULL;
    }
    /* From the loop: whoever made this is not yet done with making. */
    if (r->asker != NULL)
        redis_link_after(r->asker, 0);
    else
        for (unsigned i = 0; i < REDIS_CONNECTIONS; i++)
            redis_link_after(r->nodes[0]->links[i], 0);
    return r;
}

static void flush(struct redis *r) {
    for (unsigned i = 0; i < r->node_count; i++)
        for (unsigned k = 0; k < REDIS_CONNECTIONS && r->nodes[i] != NULL; k++)
            redis_link_flush(r->nodes[i]->links[k]);
}

void redis_free(struct redis *r) {
    if (r == NULL)
        return;
    require(r->magic == REDIS_MAGIC);
    for (struct list *n = r->due.next, *next; n != &r->due; n = next) {
        struct redis_command *c = list_object(n, struct redis_command, due);
        next = n->next;
        c->done = NULL;
    }
    flush(r);
    if (r->asker != NULL)
        redis_link_close(r->asker);
    while (r->node_count > 0)
        if (r->nodes[--r->node_count] != NULL)
            redis_node_free(r->nodes[r->node_count]);
    while (!list_empty(&r->failed))
        command_free(r, list_object(r->failed.next, struct redis_command, place));
    event_del(&r->deadline);
    event_del(&r->deliver);
    close(r->timer);
    worker_park(r->worker, &r->parked);
}
