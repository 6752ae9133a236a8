/* hammer.c - asks several gates at once, as many clients, and records every decision.
 *
 *   hammer -p 8080,8081,8082 -c 64 -k 100000 -s 10 -o decisions.bin 'X-API-Key: key-of-client-@'
 *
 *   -p PORT[,PORT...]  gates on 127.0.0.1           -c N   connections to each gate (64)
 *   -k N               clients 0 to N-1 (1)         -h N   percent of requests of client 0 (0)
 *   -n N               ends after N requests        -s S   ends after S seconds; or on SIGTERM
 *   -u PATH            what is asked                -b TEXT  its body
 *   -r                 clients at random, not in turn
 *   -t MS              patience with an answer (20000)       -o FILE  the record
 *   -w MS              how long a connection rests between answer and request (0)
 *
 * The last argument is a header line; its @ is replaced by the client's number in 7 digits.  A
 * connection sends its next request as soon as the last is answered, with no pipelining; clients
 * other than the hot one take turns over all connections, so that all are asked equally often,
 * or with -r are chosen at random, the same way in every run.
 * A connection that ends, or that is silent for longer than the patience, is made anew; while a
 * gate refuses connections, each of its connections tries again 10 ms later.
 *
 * FILE holds one record for each request, in the order of the ends: little-endian, 24 bytes:
 * u64 ns just before it was sent, u64 ns just after its answer was whole (CLOCK_MONOTONIC, that of
 * Python's time.monotonic), u32 client, u16 status (0: no answer), u16 index of the gate in -p;
 * numpy.dtype("<u8,<u8,<u4,<u2,<u2").  Prints one line: requests, admitted (200), limited (429),
 * others, unanswered, seconds. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../proxy/base/bytes.h"

#define GATES_MAX     16
#define REQUEST_ROOM  16384
#define ANSWER_ROOM   65536 /* a head has to fit; bodies are counted, not kept */
#define NUMBER_DIGITS 7
#define RETRY_NS      UINT64_C(10000000)
#define TICK_MS       5 /* how often silence and closed gates are looked at */

struct record {
    uint64_t sent, received;
    uint32_t client;
    uint16_t status, gate;
};

struct connection {
    int fd; /* -1: to be made at `retry` */
    uint64_t retry;
    uint64_t due; /* of its next request */
    bool asking;
    struct record now;
    size_t have;   /* bytes of the head in `answer` */
    uint64_t left; /* bytes of the body still to come; once `whole` */
    bool whole, closes;
    char answer[ANSWER_ROOM];
};

static struct {
    uint16_t ports[GATES_MAX];
    uint32_t gates, connections, clients, hot_percent;
    bool at_random;
    uint64_t count, until, patience, rest;
    const char *path, *body, *header;
} o = {.connections = 64,
       .clients = 1,
       .count = UINT64_MAX,
       .until = UINT64_MAX,
       .patience = UINT64_C(20000000000),
       .path = "/v2/models/m/infer",
       .body = "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],"
               "\"data\":[0.5,0.5,0.5,0.5]}]}"};

static char request[REQUEST_ROOM];
static size_t request_len;
static char *number; /* where the client's number stands in `request`, if it does */
static FILE *out;
static struct connection *all;
static int ep;
static uint64_t asked, under_way;
static struct { uint64_t admitted, limited, other, none; } seen;
static volatile sig_atomic_t stop;

static void fail(const char *what) {
    fprintf(stderr, "hammer: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void usage(const char *what) {
    fprintf(stderr, "hammer: %s; the top of tests/tools/hammer.c says how\n", what);
    exit(2);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- Who asks ---- */

/* SplitMix64 from a fixed seed: the same arguments ask in the same order. */
static uint32_t next_random(void) {
    static uint64_t state = 7;
    uint64_t x = state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)(x >> 32);
}

static uint32_t next_client(void) {
    static uint32_t turn;
    if (o.clients == 1 || next_random() % 100 < o.hot_percent)
        return 0;
    uint32_t from = o.hot_percent > 0 ? 1 : 0; /* the hot one is not asked for in turn as well */
    return from + (o.at_random ? next_random() : turn++) % (o.clients - from);
}

static void write_number(uint32_t client) {
    for (int i = NUMBER_DIGITS - 1; i >= 0 && number != NULL; i--, client /= 10)
        number[i] = (char)('0' + client % 10);
}

static bool is_over(uint64_t now) {
    return stop || asked >= o.count || now >= o.until;
}

/* ---- Connections ---- */

static void drop(struct connection *c) {
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->retry = now_ns() + RETRY_NS;
}

static void finish(struct connection *c, uint16_t status) {
    c->now.received = now_ns();
    c->now.status = status;
    if (out != NULL && fwrite(&c->now, sizeof(c->now), 1, out) != 1)
        fail("the record");
    seen.admitted += status == 200;
    seen.limited += status == 429;
    seen.none += status == 0;
    seen.other += status != 200 && status != 429 && status != 0;
    c->asking = false;
    c->due = c->now.received + o.rest;
    under_way--;
}

static void ask(struct connection *c) {
    uint64_t now = now_ns();
    if (c->fd < 0 || is_over(now) || now < c->due)
        return;
    c->now.client = next_client();
    write_number(c->now.client);
    c->have = 0;
    c->whole = c->closes = false;
    c->asking = true;
    asked++;
    under_way++;
    c->now.sent = now_ns();
    if (send(c->fd, request, request_len, MSG_NOSIGNAL) != (ssize_t)request_len) {
        finish(c, 0);
        drop(c);
    }
}

static void connect_to_gate(struct connection *c) {
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(o.ports[c->now.gate]),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    int one = 1;
    if ((c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0)
        fail("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) != 0)
        drop(c);
    else if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e) != 0)
        fail("epoll_ctl");
    ask(c);
}

/* ---- Answers ---- */

/* Reads length and connection header of a head.  False: it is no answer that this tool knows. */
static bool read_head(struct connection *c, struct bytes head) {
    bool known = false;
    struct bytes line = bytes_cut(&head, '\n');
    uint64_t status = 0;
    if (line.len < 12 || !bytes_to_u64(bytes_of(line.at + 9, 3), 999, &status))
        return false;
    c->now.status = (uint16_t)status;
    while (head.len > 0) {
        struct bytes value = bytes_trim(bytes_cut(&head, '\r')), name = bytes_cut(&value, ':');
        bytes_cut(&head, '\n');
        value = bytes_trim(value);
        if (bytes_is_nocase(name, "content-length"))
            known = bytes_to_u64(value, UINT64_MAX, &c->left);
        if (bytes_is_nocase(name, "connection") && bytes_is_nocase(value, "close"))
            c->closes = true;
    }
    return known;
}

/* Takes n bytes just read.  False: nonsense. */
static bool take(struct connection *c, size_t n) {
    if (!c->whole) {
        c->have += n;
        const char *end = memmem(c->answer, c->have, "\r\n\r\n", 4);
        if (end == NULL)
            return c->have < ANSWER_ROOM;
        size_t head_len = (size_t)(end - c->answer) + 4;
        if (!read_head(c, bytes_of(c->answer, head_len)))
            return false;
        c->whole = true;
        n = c->have - head_len;
    }
    if (n > c->left)
        return false;
    c->left -= n;
    return true;
}

static void on_readable(struct connection *c) {
    size_t at = c->whole ? 0 : c->have;
    ssize_t n = recv(c->fd, c->answer + at, ANSWER_ROOM - at, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    bool good = n > 0 && c->asking && take(c, (size_t)n);
    if (good && !(c->whole && c->left == 0))
        return;
    if (c->asking)
        finish(c, good ? c->now.status : 0);
    if (!good || c->closes) {
        drop(c);
        c->retry = 0;
    }
    if (c->fd < 0 && !is_over(now_ns()))
        connect_to_gate(c);
    else
        ask(c);
}

/* Silence, rest that is over, and gates that were away. */
static void tick(uint64_t now) {
    for (uint32_t i = 0; i < o.gates * o.connections; i++) {
        struct connection *c = &all[i];
        if (c->asking && now > c->now.sent + o.patience) {
            finish(c, 0);
            drop(c);
        }
        if (c->fd < 0 && now >= c->retry && !is_over(now))
            connect_to_gate(c);
        else if (!c->asking)
            ask(c);
    }
}

static void run(void) {
    struct epoll_event events[256];
    uint64_t ticked = 0;
    for (;;) {
        uint64_t now = now_ns();
        if (now > ticked + TICK_MS * UINT64_C(1000000)) {
            tick(now);
            ticked = now;
        }
        if (is_over(now) && under_way == 0)
            return;
        int n = epoll_wait(ep, events, 256, TICK_MS);
        for (int i = 0; i < n; i++)
            on_readable(events[i].data.ptr);
    }
}

/* ---- The start ---- */

static uint64_t number_of(const char *text, uint64_t most) {
    uint64_t value;
    if (!bytes_to_u64(bytes_str(text), most, &value))
        usage(text);
    return value;
}

static void read_ports(const char *text) {
    struct bytes rest = bytes_str(text);
    while (rest.len > 0) {
        uint64_t port;
        if (o.gates == GATES_MAX || !bytes_to_u64(bytes_cut(&rest, ','), UINT16_MAX, &port))
            usage("ports");
        o.ports[o.gates++] = (uint16_t)port;
    }
}

static void read_options(int argc, char **argv) {
    for (int c; (c = getopt(argc, argv, "p:c:k:h:n:s:u:b:t:o:rw:")) != -1;)
        switch (c) {
        case 'p':
            read_ports(optarg);
            break;
        case 'c':
            o.connections = (uint32_t)number_of(optarg, 10000);
            break;
        case 'k':
            o.clients = (uint32_t)number_of(optarg, 9999999);
            break;
        case 'h':
            o.hot_percent = (uint32_t)number_of(optarg, 100);
            break;
        case 'n':
            o.count = number_of(optarg, UINT64_MAX);
            break;
        case 's':
            o.until = now_ns() + (uint64_t)(strtod(optarg, NULL) * 1e9);
            break;
        case 'r':
            o.at_random = true;
            break;
        case 'u':
            o.path = optarg;
            break;
        case 'b':
            o.body = optarg;
            break;
        case 't':
            o.patience = number_of(optarg, 3600000) * UINT64_C(1000000);
            break;
        case 'w':
            o.rest = number_of(optarg, 3600000) * UINT64_C(1000000);
            break;
        case 'o':
            if ((out = fopen(optarg, "wb")) == NULL)
                fail(optarg);
            break;
        default:
            usage("an unknown option");
        }
    if (o.gates == 0 || o.connections == 0 || o.clients == 0 || optind + 1 != argc)
        usage("needs -p and one header line");
    o.header = argv[optind];
}

static void write_request(void) {
    struct bytes rest = bytes_str(o.header), before = bytes_cut(&rest, '@');
    bool numbered = strchr(o.header, '@') != NULL;
    int n = snprintf(request, sizeof(request),
                     "POST %s HTTP/1.1\r\nHost: gate\r\nContent-Type: application/json\r\n"
                     "Content-Length: %zu\r\n%.*s%.*s%.*s\r\n\r\n%s",
                     o.path, strlen(o.body), (int)before.len, before.at,
                     numbered ? NUMBER_DIGITS : 0, "0000000", (int)rest.len, rest.at, o.body);
    if (n < 0 || (size_t)n >= sizeof(request))
        usage("the request is too long");
    request_len = (size_t)n;
    if (numbered)
        number = strstr(request, "Content-Length:");
    if (number != NULL)
        number = strchr(number, '\n') + 1 + before.len;
}

static void on_stop(int sig) {
    (void)sig;
    stop = 1;
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    write_request();
    signal(SIGTERM, on_stop);
    signal(SIGINT, on_stop);
    all = calloc((size_t)o.gates * o.connections, sizeof(*all));
    ep = epoll_create1(EPOLL_CLOEXEC);
    if (all == NULL || ep < 0)
        fail("start");
    uint64_t start = now_ns();
    for (uint32_t i = 0; i < o.gates * o.connections; i++) {
        all[i].now.gate = (uint16_t)(i % o.gates);
        all[i].fd = -1;
    }
    run();
    if (out != NULL && fclose(out) != 0)
        fail("the record");
    printf("requests %" PRIu64 " admitted %" PRIu64 " limited %" PRIu64 " other %" PRIu64
           " unanswered %" PRIu64 " seconds %.3f\n",
           asked, seen.admitted, seen.limited, seen.other, seen.none,
           (double)(now_ns() - start) / 1e9);
    free(all);
    return 0;
}
