/* redis_probe.c - talks to real Redis servers through proxy/redis.c, and says what came of it.
 *
 *   redis_probe [OPTIONS] KIND HOST:PORT[,HOST:PORT...]      KIND: server | sentinel | cluster
 *
 *   -m NAME  the Sentinels' name of the master      -u USER  -p FILE  ACL user, password file
 *   -c FILE  TLS, verified with these authorities   -n NAME  what the certificate must be for
 *   -d N     database                               -t US    deadline of a command (5000)
 *   -i US    a command every so often (1000); 0: as many as -w allows, for measuring
 *   -w N     commands that may be out at once (64)  -k N     keys (1000)   -s S  ends after S
 * seconds
 *
 * Every 50 ms one line: milliseconds since the start, then how many commands since the last line
 * were answered as they should be, by an error, too late, not for want of a connection, or not
 * taken; and the longest that one waited for any of these, in microseconds.  The last line begins
 * with `total`, sums up, and ends with microseconds of CPU for one command. */
#include <inttypes.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "../../proxy/base/arena.h"
#include "../../proxy/redis.h"
#include "../../proxy/tls.h"
#include "../../proxy/worker.h"

enum { LINE_US = 50000, SERVERS_MAX = 16 };
enum { GOOD, WRONG, LATE, DOWN, REFUSED, OUTCOMES };

static struct endpoint_conf servers[SERVERS_MAX];
static struct store_conf conf = {.servers = servers, .timeout = 5000};
static uint64_t interval = 1000, window = 64, keys = 1000, seconds = 10;
static struct worker worker;
static struct redis *redis;
static uint64_t counts[OUTCOMES], sums[OUTCOMES], longest, worst, out, serial, began, next_line;
static struct event *tick;

struct question {
    uint64_t sent;
};

static void count(int what, uint64_t waited) {
    counts[what]++;
    if (waited > longest)
        longest = waited;
}

static void ask(void);

static void on_reply(void *cookie, enum redis_result result, const struct redis_reply *reply) {
    struct question *q = cookie;
    static const int outcome[] = {
        [REDIS_OK] = GOOD, [REDIS_ERROR] = WRONG, [REDIS_TIMEOUT] = LATE, [REDIS_DOWN] = DOWN};
    bool odd = result == REDIS_OK && (reply->array || reply->values[0].type != REDIS_INTEGER);
    count(odd ? WRONG : outcome[result], clock_us() - q->sent);
    free(q);
    out--;
    if (interval == 0)
        ask();
}

static void ask(void) {
    char key[32];
    struct question *q = malloc(sizeof(*q));
    if (q == NULL)
        abort();
    snprintf(key, sizeof(key), "probe:{%" PRIu64 "}", serial++ % keys);
    struct bytes argv[] = {BYTES_LITERAL("INCR"), bytes_str(key)};
    q->sent = clock_us();
    if (redis_send(redis, 2, argv, 1, on_reply, q)) {
        out++;
        return;
    }
    count(REFUSED, 0);
    free(q);
}

static void print_line(uint64_t now) {
    printf("%" PRIu64, (now - began) / 1000);
    for (int i = 0; i < OUTCOMES; i++) {
        printf(" %" PRIu64, counts[i]);
        sums[i] += counts[i];
        counts[i] = 0;
    }
    printf(" %" PRIu64 "\n", longest);
    if (longest > worst)
        worst = longest;
    longest = 0;
    fflush(stdout);
}

static void on_tick(evutil_socket_t fd, short what, void *cookie) {
    struct timeval tv = {.tv_usec = interval > 0 ? (suseconds_t)interval : 1000};
    uint64_t now = clock_us();
    (void)fd, (void)what, (void)cookie;
    event_add(tick, &tv);
    while (out < (interval > 0 ? 1 : window) && redis_ready(redis))
        ask();
    if (interval > 0 && !redis_ready(redis))
        ask();
    if (now >= next_line) {
        print_line(now);
        next_line = now + LINE_US;
    }
    if (now - began >= seconds * 1000000)
        event_base_loopbreak(worker.base);
}

static void add_server(char *text) {
    struct addrinfo want = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found;
    struct address *a = &servers[conf.server_count].address;
    char *colon = strrchr(text, ':');
    if (colon == NULL || conf.server_count == SERVERS_MAX)
        abort();
    *colon = '\0';
    if (getaddrinfo(text, colon + 1, &want, &found) != 0)
        abort();
    memcpy(&a->at, found->ai_addr, found->ai_addrlen);
    a->len = found->ai_addrlen;
    a->host = bytes_str(text);
    freeaddrinfo(found);
    conf.server_count++;
}

static uint64_t number(const char *text) {
    return strtoull(text, NULL, 10);
}

static void read_arguments(int argc, char **argv) {
    char error[256];
    for (int c; (c = getopt(argc, argv, "m:u:p:c:n:d:t:i:w:k:s:")) != -1;)
        switch (c) {
        case 'm':
            conf.master = bytes_str(optarg);
            break;
        case 'u':
            conf.user = bytes_str(optarg);
            break;
        case 'p':
            conf.password_file = bytes_str(optarg);
            break;
        case 'n':
            conf.tls_files.name = bytes_str(optarg);
            break;
        case 'c':
            conf.tls = true;
            conf.context = tls_client_context(bytes_str(optarg), error, sizeof(error));
            break;
        case 'd':
            conf.database = number(optarg);
            break;
        case 't':
            conf.timeout = number(optarg);
            break;
        case 'i':
            interval = number(optarg);
            break;
        case 'w':
            window = number(optarg);
            break;
        case 'k':
            keys = number(optarg);
            break;
        case 's':
            seconds = number(optarg);
            break;
        default:
            exit(2);
        }
    if (argc - optind != 2)
        exit(2);
    conf.kind = argv[optind][0] == 'c'                             ? STORE_CLUSTER
                : argv[optind][0] == 's' && argv[optind][2] == 'n' ? STORE_SENTINEL
                                                                   : STORE_REDIS;
    for (char *s = strtok_r(argv[optind + 1], ",", &argv[optind + 1]); s != NULL;
         s = strtok_r(NULL, ",", &argv[optind + 1]))
        add_server(s);
}

static void print_total(void) {
    uint64_t all = 0, cpu = (uint64_t)clock() * (1000000 / CLOCKS_PER_SEC);
    print_line(clock_us());
    printf("total");
    for (int i = 0; i < OUTCOMES; i++) {
        printf(" %" PRIu64, sums[i]);
        all += sums[i];
    }
    printf(" %" PRIu64 " %.2f\n", worst, all > 0 ? (double)cpu / (double)all : 0);
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN); /* as in the gate: TLS writes to what the server has closed */
    read_arguments(argc, argv);
    struct config *config = &(struct config){.refs = 1, .arena = arena_new(4096)};
    if (!worker_open(&worker, NULL, 0, config))
        abort();
    tick = evtimer_new(worker.base, on_tick, NULL);
    redis = redis_new(&worker, &conf);
    began = clock_us();
    next_line = began + LINE_US;
    on_tick(-1, 0, NULL);
    event_base_dispatch(worker.base);
    redis_free(redis); /* What is still out is not called back: its questions stay with us. */
    print_total();
    event_free(tick);
    worker_close(&worker);
    return 0;
}
