/* redis_link.c - one connection: connect, TLS, the steps of its role, then commands in order. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/require.h"
#include "crypto.h"
#include "redis_private.h"

#define LINK_MAGIC 0x52444c4bu
enum { IOV_MAX_ONCE = 64 };

static const char asking[] = "*1\r\n$6\r\nASKING\r\n";
enum { ASKING_LEN = sizeof(asking) - 1 };

/* What the steps ask for is nested and may be long (ROLE, CLUSTER SLOTS); commands' replies not. */
static const struct resp_limits greeting_limits = {
    .depth = 4, .items = REDIS_SLOTS_ITEMS_MAX, .bytes = REDIS_SLOTS_BYTES_MAX};
static const struct resp_limits command_limits = {
    .depth = 1, .items = REDIS_REPLY_ITEMS_MAX + 1, .bytes = REDIS_REPLY_BYTES_MAX};

static void link_free(struct parked *p) {
    struct redis_link *l = (struct redis_link *)p;
    buf_free(&l->secret);
    free(l);
}

static void fail_all(struct redis_link *l, struct list *commands) {
    while (!list_empty(commands))
        redis_command_fail(l->redis, list_object(commands->next, struct redis_command, place));
}

void redis_link_hang_up(struct redis_link *l) {
    l->epoch++;
    timer_stop(&l->timer);
    if (l->sock.fd >= 0) {
        event_del(&l->readable);
        event_del(&l->writable);
        sock_close(&l->sock);
    }
    resp_free(l->resp);
    l->resp = NULL;
    resp_command_free(l->hello);
    l->hello = NULL;
    l->blocked = false;
    l->state = LINK_IDLE;
    fail_all(l, &l->sent);
    fail_all(l, &l->waiting);
}

void redis_link_close(struct redis_link *l) {
    require(l->magic == LINK_MAGIC);
    if (l->state == LINK_CLOSED)
        return;
    redis_link_hang_up(l);
    l->state = LINK_CLOSED;
    worker_park(l->redis->worker, &l->parked);
}

void redis_link_break(struct redis_link *l, const char *why) {
    redis_link_hang_up(l);
    redis_say_lost(l->redis, l->node != NULL ? l->node : l->peer, why);
    l->role->lost(l);
}

void redis_link_after(struct redis_link *l, uint64_t us) {
    l->state = LINK_PAUSING;
    timer_set(&l->redis->worker->timers, &l->timer, worker_now(l->redis->worker), us);
}

/* Doubling pauses, each shortened by up to a half at random: gates that lost one server together
 * do not come back together. */
void redis_link_retry(struct redis_link *l) {
    uint64_t pause = REDIS_BACKOFF_MIN << (l->attempts < 8 ? l->attempts : 8);
    uint32_t jitter;
    if (pause > REDIS_BACKOFF_MAX)
        pause = REDIS_BACKOFF_MAX;
    crypto_random(&jitter, sizeof(jitter));
    l->attempts++;
    redis_link_after(l, pause - pause / 2 * (jitter >> 16) / 0x10000);
}

static size_t wire_len(const struct redis_command *c) {
    return c->len + (c->asking ? ASKING_LEN : 0);
}

/* Silence counts from when there is something to wait for: now. */
static void watch(struct redis_link *l) {
    l->heard = worker_now(l->redis->worker);
    if (!timer_is_set(&l->timer))
        timer_set(&l->redis->worker->timers, &l->timer, l->heard, REDIS_SILENCE_MAX);
}

void redis_link_queue(struct redis_link *l, struct redis_command *c) {
    bool first = list_empty(&l->waiting) && list_empty(&l->sent);
    c->link = l;
    c->written = 0;
    c->asked = false;
    list_push(&l->waiting, &c->place);
    if (l->state != LINK_READY)
        return;
    if (first)
        watch(l);
    if (!l->blocked)
        event_active(&l->writable, EV_WRITE, 0); /* One write for all that this turn queues. */
}

static int add_piece(struct iovec *iov, int count, const char *at, size_t len, size_t *skip) {
    size_t cut = *skip < len ? *skip : len;
    *skip -= cut;
    if (cut == len)
        return count;
    iov[count] = (struct iovec){(void *)(at + cut), len - cut};
    return count + 1;
}

static int gather(struct redis_link *l, struct iovec iov[IOV_MAX_ONCE]) {
    int count = 0;
    for (struct list *n = l->waiting.next; n != &l->waiting && count < IOV_MAX_ONCE - 1;
         n = n->next) {
        struct redis_command *c = list_object(n, struct redis_command, place);
        size_t skip = c->written;
        if (c->asking)
            count = add_piece(iov, count, asking, ASKING_LEN, &skip);
        count = add_piece(iov, count, c->wire, c->len, &skip);
    }
    return count;
}

static void written(struct redis_link *l, size_t n) {
    while (n > 0) {
        struct redis_command *c = list_object(l->waiting.next, struct redis_command, place);
        size_t part = wire_len(c) - c->written;
        if (part > n)
            part = n;
        c->written += part;
        n -= part;
        if (c->written < wire_len(c))
            return;
        list_remove(&c->place);
        list_push(&l->sent, &c->place);
    }
}

static void block(struct redis_link *l) {
    l->blocked = true;
    event_add(&l->writable, NULL);
}

static void write_commands(struct redis_link *l) {
    while (!list_empty(&l->waiting)) {
        struct iovec iov[IOV_MAX_ONCE];
        size_t n = 0;
        enum io_status s = sock_writev(&l->sock, iov, gather(l, iov), &n);
        if (s == IO_AGAIN)
            block(l);
        else if (s != IO_OK)
            redis_link_break(l, "the connection broke");
        if (s != IO_OK)
            return;
        written(l, n);
    }
}

void redis_link_flush(struct redis_link *l) {
    if (l->state == LINK_READY && !l->blocked)
        write_commands(l);
}

static void write_hello(struct redis_link *l) {
    while (l->hello_written < l->hello_len) {
        struct iovec iov = {l->hello + l->hello_written, l->hello_len - l->hello_written};
        size_t n = 0;
        enum io_status s = sock_writev(&l->sock, &iov, 1, &n);
        if (s == IO_AGAIN)
            block(l);
        else if (s != IO_OK)
            redis_link_break(l, "the connection broke during the handshake");
        if (s != IO_OK)
            return;
        l->hello_written += n;
    }
}

static void become_ready(struct redis_link *l) {
    l->state = LINK_READY;
    timer_stop(&l->timer);
    if (!list_empty(&l->waiting)) {
        watch(l);
        event_active(&l->writable, EV_WRITE, 0);
    }
    l->role->ready(l);
}

/* Sends the first step from l->step on that is needed. */
static void next_step(struct redis_link *l) {
    struct bytes argv[REDIS_ARGS_MAX];
    const char *why = NULL;
    int argc = 0;
    resp_command_free(l->hello);
    l->hello = NULL;
    while (l->step < l->role->step_count &&
           (argc = l->role->steps[l->step].ask(l, argv, &why)) == 0)
        l->step++;
    if (l->step == l->role->step_count) {
        become_ready(l);
        return;
    }
    if (argc > 0) {
        l->hello = resp_command(argc, argv, &l->hello_len);
        l->hello_written = 0;
        why = "no memory for the handshake";
    }
    if (l->secret.at != NULL)
        crypto_wipe(l->secret.at, l->secret.room);
    buf_clear(&l->secret);
    if (l->hello == NULL)
        redis_link_break(l, why);
    else
        write_hello(l);
}

static void greet(struct redis_link *l) {
    l->state = LINK_GREETING;
    l->step = 0;
    next_step(l);
}

static void step_heard(struct redis_link *l, const struct redis_reply *reply, bool error) {
    if (l->hello == NULL || l->hello_written < l->hello_len) {
        redis_link_break(l, "a reply that nobody asked for");
        return;
    }
    const char *why = l->role->steps[l->step].hear(l, reply, error);
    if (why != NULL) {
        redis_link_break(l, why);
        return;
    }
    l->step++;
    next_step(l);
}

/* Takes the number off.  False: it is another command's, or none. */
static bool take_number(const struct redis_command *c, struct redis_reply *reply) {
    const struct redis_value *first = reply->values;
    if (c->number == 0)
        return true;
    if (!reply->array || reply->count == 0 || first->type != REDIS_INTEGER ||
        (uint64_t)first->integer != c->number)
        return false;
    reply->values++;
    reply->count--;
    return true;
}

static void reply_heard(struct redis_link *l, struct redis_reply *reply, bool error) {
    if (list_empty(&l->sent)) {
        redis_link_break(l, "a reply that nobody asked for");
        return;
    }
    struct redis_command *c = list_object(l->sent.next, struct redis_command, place);
    if (c->asking && !c->asked) {
        c->asked = true;
        return;
    }
    if (!error && !take_number(c, reply)) {
        redis_link_break(l, "a reply to something else than what was asked");
        return;
    }
    struct bytes text = error ? reply->values[0].text : bytes_of(NULL, 0);
    bool leaves = error && redis_leaves(text);
    unsigned epoch = l->epoch;
    list_remove(&c->place);
    if (error && redis_cluster_redirect(l, c, text))
        return;
    redis_command_done(l->redis, c, error ? REDIS_ERROR : REDIS_OK, reply);
    if (leaves && l->epoch == epoch)
        redis_link_break(l, "it says that it does not serve writes now");
}

/* All whole replies that are there. */
static void take_replies(struct redis_link *l) {
    unsigned epoch = l->epoch;
    while (l->epoch == epoch) {
        struct redis_reply reply;
        bool greeting = l->state == LINK_GREETING;
        enum resp_status s =
            resp_next(l->resp, greeting ? &greeting_limits : &command_limits, &reply);
        if (s == RESP_MORE)
            return;
        if (s == RESP_BROKEN)
            redis_link_break(l, "a reply that is not Redis' protocol, or over the limits");
        else if (greeting)
            step_heard(l, &reply, s == RESP_ERROR);
        else
            reply_heard(l, &reply, s == RESP_ERROR);
    }
}

static void read_replies(struct redis_link *l) {
    char *scratch = l->redis->worker->scratch;
    unsigned epoch = l->epoch;
    for (unsigned i = 0; i < READS_PER_WAKE_MAX; i++) {
        size_t n = 0;
        enum io_status s = sock_read(&l->sock, scratch, REDIS_READ_BYTES, &n);
        if (s == IO_AGAIN)
            return;
        if (s != IO_OK || !resp_feed(l->resp, bytes_of(scratch, n))) {
            redis_link_break(l, "the connection broke");
            return;
        }
        l->heard = worker_now(l->redis->worker);
        take_replies(l);
        if (l->epoch != epoch || (n < REDIS_READ_BYTES && !sock_pending(&l->sock)))
            return;
    }
    event_active(&l->readable, EV_READ, 0); /* What TLS has read wakes nobody. */
}

static void secure(struct redis_link *l) {
    enum io_status s = sock_handshake(&l->sock);
    if (s == IO_OK)
        greet(l);
    else if (s != IO_AGAIN)
        redis_link_break(l, "the TLS handshake failed");
    else if (l->sock.wants_write)
        block(l);
}

static void on_connected(struct redis_link *l) {
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(l->sock.fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0) {
        redis_link_break(l, error != 0 ? strerrordesc_np(error) : "cannot be connected to");
        return;
    }
    event_add(&l->readable, NULL);
    if (l->redis->conf->tls) {
        l->state = LINK_SECURING;
        secure(l);
    } else {
        greet(l);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *cookie) {
    struct redis_link *l = cookie;
    (void)fd, (void)what;
    require(l->magic == LINK_MAGIC);
    if (l->state == LINK_SECURING)
        secure(l);
    else if (l->state == LINK_GREETING || l->state == LINK_READY)
        read_replies(l);
}

static void on_writable(evutil_socket_t fd, short what, void *cookie) {
    struct redis_link *l = cookie;
    (void)fd, (void)what;
    require(l->magic == LINK_MAGIC);
    event_del(&l->writable);
    l->blocked = false;
    if (l->state == LINK_CONNECTING)
        on_connected(l);
    else if (l->state == LINK_SECURING)
        secure(l);
    else if (l->state == LINK_GREETING)
        write_hello(l);
    else if (l->state == LINK_READY)
        write_commands(l);
}

static void on_time(struct timer *t) {
    struct redis_link *l = list_object(t, struct redis_link, timer);
    struct worker *w = l->redis->worker;
    if (l->state == LINK_PAUSING) {
        l->state = LINK_IDLE;
        l->role->dial(l);
    } else if (l->state != LINK_READY) {
        redis_link_break(l, "no handshake within its time");
    } else if (!list_empty(&l->sent) || !list_empty(&l->waiting)) {
        uint64_t silent = worker_now(w) - l->heard;
        if (silent >= REDIS_SILENCE_MAX)
            redis_link_break(l, "it has stopped answering");
        else
            timer_set(&w->timers, &l->timer, worker_now(w), REDIS_SILENCE_MAX - silent);
    }
}

static bool dial(struct redis_link *l, const struct redis_node *to) {
    static const int one = 1;
    const struct store_conf *conf = l->redis->conf;
    struct event_base *base = l->redis->worker->base;
    l->sock = (struct sock){
        .fd = socket(to->at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (l->sock.fd < 0 ||
        event_assign(&l->readable, base, l->sock.fd, EV_READ | EV_PERSIST, on_readable, l) != 0 ||
        event_assign(&l->writable, base, l->sock.fd, EV_WRITE | EV_PERSIST, on_writable, l) != 0 ||
        (l->resp = resp_new()) == NULL)
        return false;
    setsockopt(l->sock.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(l->sock.fd, (const struct sockaddr *)&to->at, to->len) != 0 && errno != EINPROGRESS)
        return false;
    if (conf->tls &&
        !sock_tls_connect(&l->sock, conf->context,
                          conf->tls_files.name.len > 0 ? conf->tls_files.name : to->name))
        return false;
    return event_add(&l->writable, NULL) == 0;
}

void redis_link_dial(struct redis_link *l, const struct redis_node *to) {
    require(l->magic == LINK_MAGIC && (l->state == LINK_IDLE || l->state == LINK_PAUSING));
    struct worker *w = l->redis->worker;
    l->epoch++;
    l->peer = to;
    l->state = LINK_CONNECTING;
    timer_set(&w->timers, &l->timer, worker_now(w), REDIS_HANDSHAKE_TIMEOUT);
    errno = 0;
    if (!dial(l, to))
        redis_link_break(l, errno != 0 ? strerrordesc_np(errno) : "no memory, or no TLS");
}

struct redis_link *redis_link_new(struct redis *r, struct redis_node *node,
                                  const struct redis_role *role) {
    struct redis_link *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return NULL;
    l->parked.free = link_free;
    l->magic = LINK_MAGIC;
    l->redis = r;
    l->node = node;
    l->role = role;
    l->sock.fd = -1;
    list_init(&l->waiting);
    list_init(&l->sent);
    timer_init(&l->timer, on_time);
    buf_init(&l->secret, REDIS_PASSWORD_MAX + KIB(4));
    return l;
}
