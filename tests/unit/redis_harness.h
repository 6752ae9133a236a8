/* redis_harness.h - a worker's loop with servers in it that say what a test wants.
 *
 * A server answers the handshake by itself; everything else, and with `all` the handshake too, goes
 * to its script.  Everything runs in one thread, in one loop, which turns until what a test waits
 * for is true. */
#ifndef QG_REDIS_HARNESS_H
#define QG_REDIS_HARNESS_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../proxy/base/arena.h"
#include "../../proxy/base/log.h"
#include "../../proxy/redis_private.h"

enum { SERVERS = 4, TALKS = 64, WORDS = 16, PATIENCE_US = 20000000, ROOM = 1 << 20 };

struct server;

/* One accepted connection. */
struct talk {
    struct server *server;
    int fd;
    struct event readable, turn;
    struct buf in, out;
};

typedef void script_fn(struct talk *t, int argc, const struct bytes *argv);

struct server {
    int fd;
    uint16_t port;
    struct event acceptable;
    struct talk talks[TALKS];
    unsigned accepted, asked; /* connections; commands that came to the script */
    script_fn *script;
    bool all;    /* the handshake is the script's, too */
    size_t tear; /* bytes written at a time; 0: all */
    const char *role;
};

static struct worker worker;
static struct config *config;
static struct server servers[SERVERS];
static struct endpoint_conf endpoints[SERVERS];
static struct store_conf store;
static char said[4096]; /* what was logged */

static void note_line(enum log_level level, const char *format, ...) {
    size_t len = strlen(said);
    va_list args;
    (void)level;
    va_start(args, format);
    vsnprintf(said + len, sizeof(said) - len, format, args);
    va_end(args);
}

static void talk_end(struct talk *t) {
    if (t->fd < 0)
        return;
    event_del(&t->readable);
    event_del(&t->turn);
    close(t->fd);
    t->fd = -1;
    buf_free(&t->in);
    buf_free(&t->out);
}

static void on_turn(evutil_socket_t fd, short what, void *cookie) {
    struct talk *t = cookie;
    size_t n = t->server->tear > 0 && t->server->tear < t->out.len ? t->server->tear : t->out.len;
    (void)fd, (void)what;
    ssize_t sent = send(t->fd, t->out.at, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0)
        buf_consume(&t->out, (size_t)sent);
    if (t->out.len > 0 && (sent > 0 || errno == EAGAIN))
        event_add(&t->turn, &(struct timeval){.tv_usec = t->server->tear > 0 ? 1 : 0});
}

static void say_bytes(struct talk *t, struct bytes data) {
    if (t->fd < 0)
        return;
    buf_add_bytes(&t->out, data);
    event_add(&t->turn, &(struct timeval){.tv_usec = 0});
}

static void say(struct talk *t, const char *text) {
    say_bytes(t, bytes_str(text));
}

static bool is(struct bytes word, const char *name) {
    return bytes_is_nocase(word, name);
}

static void greet_back(struct talk *t, int argc, const struct bytes *argv) {
    if (is(argv[0], "PING"))
        say(t, "+PONG\r\n");
    else if (is(argv[0], "ROLE"))
        say(t, t->server->role);
    else if (is(argv[0], "CLIENT") || is(argv[0], "AUTH") || is(argv[0], "SELECT"))
        say(t, "+OK\r\n");
    else {
        t->server->asked++;
        t->server->script(t, argc, argv);
    }
}

/* The number of a line "*3\r" or "$5\r". */
static uint64_t count_of(struct bytes line) {
    uint64_t n = 0;
    assert_true(line.len > 2 && line.at[line.len - 1] == '\r');
    assert_true(bytes_to_u64(bytes_of(line.at + 1, line.len - 2), 1u << 20, &n));
    return n;
}

/* A whole command at the front of data: its length, else 0. */
static size_t read_command(struct bytes data, int *argc, struct bytes argv[WORDS]) {
    struct bytes rest = data, line = bytes_cut(&rest, '\n');
    if (rest.at == NULL)
        return 0;
    *argc = (int)count_of(line);
    assert_true(line.at[0] == '*' && *argc <= WORDS);
    for (int i = 0; i < *argc; i++) {
        line = bytes_cut(&rest, '\n');
        if (rest.at == NULL)
            return 0;
        size_t len = count_of(line);
        if (rest.len < len + 2)
            return 0;
        argv[i] = bytes_of(rest.at, len);
        rest = bytes_skip(rest, len + 2);
    }
    return data.len - rest.len;
}

static void on_talk(evutil_socket_t fd, short what, void *cookie) {
    struct talk *t = cookie;
    (void)what;
    char *to = buf_reserve(&t->in, 4096);
    assert_non_null(to);
    ssize_t n = recv(fd, to, 4096, 0);
    if (n <= 0) {
        talk_end(t);
        return;
    }
    t->in.len += (size_t)n;
    struct bytes argv[WORDS];
    int argc;
    size_t used;
    while (t->fd >= 0 && (used = read_command(buf_bytes(&t->in), &argc, argv)) > 0) {
        if (t->server->all)
            t->server->asked++, t->server->script(t, argc, argv);
        else
            greet_back(t, argc, argv);
        if (t->fd >= 0)
            buf_consume(&t->in, used);
    }
}

static void on_accept(evutil_socket_t fd, short what, void *cookie) {
    struct server *s = cookie;
    struct talk *t = &s->talks[s->accepted++ % TALKS];
    (void)what;
    talk_end(t);
    t->server = s;
    t->fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
    buf_init(&t->in, ROOM);
    buf_init(&t->out, ROOM);
    event_assign(&t->readable, worker.base, t->fd, EV_READ | EV_PERSIST, on_talk, t);
    evtimer_assign(&t->turn, worker.base, on_turn, t);
    event_add(&t->readable, NULL);
}

static void server_open(struct server *s, script_fn *script) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    *s = (struct server){.script = script, .role = "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"};
    for (unsigned i = 0; i < TALKS; i++)
        s->talks[i].fd = -1;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(s->fd, TALKS), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&at, &len), 0);
    s->port = ntohs(at.sin_port);
    event_assign(&s->acceptable, worker.base, s->fd, EV_READ | EV_PERSIST, on_accept, s);
    event_add(&s->acceptable, NULL);
}

/* Whoever comes later is refused. */
static void server_close(struct server *s) {
    if (s->fd <= 0)
        return;
    for (unsigned i = 0; i < TALKS; i++)
        talk_end(&s->talks[i]);
    event_del(&s->acceptable);
    close(s->fd);
    s->fd = 0;
}

static void server_hang_up(struct server *s) {
    for (unsigned i = 0; i < TALKS; i++)
        talk_end(&s->talks[i]);
}

static void configure(enum store_kind kind, unsigned count) {
    store = (struct store_conf){.kind = kind,
                                .servers = endpoints,
                                .server_count = count,
                                .timeout = PATIENCE_US,
                                .master = BYTES_LITERAL("main")};
    for (unsigned i = 0; i < count; i++) {
        struct sockaddr_in at = {.sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                 .sin_port = htons(servers[i].port)};
        memcpy(&endpoints[i].address.at, &at, sizeof(at));
        endpoints[i].address.len = sizeof(at);
        endpoints[i].address.host = BYTES_LITERAL("127.0.0.1");
    }
}

static int harness_open(void **state) {
    struct arena *a = arena_new(KIB(64));
    (void)state;
    said[0] = '\0';
    config = arena_alloc(a, sizeof(*config));
    *config = (struct config){.refs = 1, .arena = a};
    return worker_open(&worker, NULL, 0, config) ? 0 : -1;
}

static int harness_close(void **state) {
    (void)state;
    for (unsigned i = 0; i < SERVERS; i++)
        server_close(&servers[i]);
    worker_close(&worker);
    config_unref(config);
    return 0;
}

static void turn(void) {
    event_base_loop(worker.base, EVLOOP_ONCE);
    worker.turn++;
}

#define TURN_UNTIL(condition)                                                                      \
    do {                                                                                           \
        uint64_t end_ = clock_us() + PATIENCE_US;                                                  \
        while (!(condition) && clock_us() < end_)                                                  \
            turn();                                                                                \
        assert_true(condition);                                                                    \
    } while (0)

/* What came of one command. */
struct outcome {
    unsigned calls;
    enum redis_result result;
    char text[1024]; /* ints as :1, texts as $a, nil as _, arrays in brackets */
};

static void describe(struct outcome *o, const struct redis_reply *reply) {
    size_t n = 0;
    o->text[0] = '\0';
    if (reply == NULL)
        return;
    if (reply->array)
        o->text[n++] = '[';
    for (uint32_t i = 0; i < reply->count && n < sizeof(o->text) - 1; i++) {
        const struct redis_value *v = &reply->values[i];
        size_t room = sizeof(o->text) - n;
        int more = v->type == REDIS_NIL ? snprintf(o->text + n, room, "_")
                   : v->type == REDIS_INTEGER
                       ? snprintf(o->text + n, room, ":%lld", (long long)v->integer)
                   : v->type == REDIS_ARRAY
                       ? snprintf(o->text + n, room, "*%lld", (long long)v->integer)
                       : snprintf(o->text + n, room, "$%.*s", (int)v->text.len, v->text.at);
        n += (size_t)more < room ? (size_t)more : room - 1;
    }
    if (reply->array && n < sizeof(o->text) - 1)
        o->text[n++] = ']';
    o->text[n] = '\0';
}

static bool sending; /* no callback may come now */

static void on_outcome(void *cookie, enum redis_result result, const struct redis_reply *reply) {
    struct outcome *o = cookie;
    assert_false(sending);
    assert_int_equal(reply != NULL, result == REDIS_OK || result == REDIS_ERROR);
    o->calls++;
    o->result = result;
    describe(o, reply);
}

/* command: words with spaces between; the second is the key. */
static bool ask(struct redis *r, const char *command, struct outcome *o) {
    struct bytes rest = bytes_str(command), argv[WORDS];
    int argc = 0;
    while (rest.at != NULL && rest.len > 0)
        argv[argc++] = bytes_cut(&rest, ' ');
    *o = (struct outcome){.calls = 0};
    sending = true;
    bool taken = redis_send(r, argc, argv, 1, on_outcome, o);
    sending = false;
    return taken;
}

#endif
