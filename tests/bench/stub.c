/* stub.c - the cheapest model server there can be: what is measured is the proxy in front of it.
 *
 * One thread, epoll, HTTP/1.1 keep-alive.  It discards the request's body (Content-Length or
 * chunked) and answers by the model's name in the path: /c10/ with 10 scores as JSON, /c1000/ with
 * 1000 of them (about 20 KB), anything else with {}.  Prints `listening on PORT`. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../proxy/base/bytes.h"

#define HEAD_ROOM   16384
#define CHUNK_LINE  64
#define CLASSES_MAX 1000
#define CONNS_MAX   4096
#define READ_SIZE   (1 << 18)

struct conn {
    int fd;
    enum { IN_HEAD, IN_BODY, IN_CHUNK_LINE, IN_CHUNK, IN_TRAILER } state;
    char head[HEAD_ROOM]; /* the request's head, or a line of chunk framing */
    size_t head_len;
    uint64_t left; /* bytes of the body or chunk still to discard */
    struct bytes out;
};

static struct conn *conns[CONNS_MAX]; /* by descriptor */
static struct bytes reply_c10, reply_c1000, reply_empty;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void *need(void *at) {
    if (at == NULL)
        fail("memory");
    return at;
}

static struct bytes reply_of(struct bytes body) {
    char *at = need(malloc(body.len + 128));
    int head = snprintf(at, 128,
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                        "Content-Length: %zu\r\n\r\n",
                        body.len);
    memcpy(at + head, body.at, body.len);
    return bytes_of(at, (size_t)head + body.len);
}

/* A softmax over n pseudo-random logits, in the 17 digits that Python prints. */
static struct bytes scores_reply(int n) {
    double scores[CLASSES_MAX], sum = 0;
    uint32_t seed = 7;
    for (int i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        sum += scores[i] = exp(8.0 * seed / UINT32_MAX);
    }
    char *text = NULL;
    size_t len = 0;
    FILE *f = need(open_memstream(&text, &len));
    fprintf(f,
            "{\"model_name\":\"c%d\",\"model_version\":\"1\",\"outputs\":[{\"name\":"
            "\"probabilities\",\"datatype\":\"FP32\",\"shape\":[1,%d],\"data\":[",
            n, n);
    for (int i = 0; i < n; i++)
        fprintf(f, "%s%.17g", i > 0 ? "," : "", (double)(float)(scores[i] / sum));
    fputs("]}]}", f);
    fclose(f);
    struct bytes reply = reply_of(bytes_of(text, len));
    free(text);
    return reply;
}

/* 0: all is sent; 1: the socket is full; -1: broken. */
static int send_out(struct conn *c) {
    while (c->out.len > 0) {
        ssize_t n = send(c->fd, c->out.at, c->out.len, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN ? 1 : -1;
        c->out = bytes_skip(c->out, (size_t)n);
    }
    return 0;
}

static void watch(int ep, int op, int fd, uint32_t events) {
    struct epoll_event e = {.events = events, .data.fd = fd};
    if (epoll_ctl(ep, op, fd, &e) != 0)
        fail("epoll_ctl");
}

static bool contains(struct bytes s, const char *what) {
    return memmem(s.at, s.len, what, strlen(what)) != NULL;
}

/* Picks the answer and the framing of the body from a whole head. */
static bool read_head(struct conn *c, struct bytes head) {
    struct bytes line = bytes_cut(&head, '\n');
    c->out = contains(line, "/c1000/") ? reply_c1000
             : contains(line, "/c10/") ? reply_c10
                                       : reply_empty;
    c->left = 0;
    c->state = IN_BODY;
    while (head.len > 0) {
        line = bytes_cut(&head, '\n');
        struct bytes value = line, name = bytes_cut(&value, ':');
        value = bytes_trim(bytes_of(value.at, value.len > 0 ? value.len - 1 : 0)); /* less CR */
        if (bytes_is_nocase(name, "content-length") && !bytes_to_u64(value, UINT64_MAX, &c->left))
            return false;
        if (bytes_is_nocase(name, "transfer-encoding"))
            c->state = IN_CHUNK_LINE;
        if (bytes_is_nocase(name, "expect") &&
            send(c->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL) < 0)
            return false;
    }
    return true;
}

/* Takes of *in up to the end of the head.  False: the head is too long or wrong. */
static bool take_head(struct conn *c, struct bytes *in) {
    size_t had = c->head_len, room = sizeof(c->head) - had;
    size_t n = in->len < room ? in->len : room;
    memcpy(c->head + had, in->at, n);
    size_t from = had > 3 ? had - 3 : 0;
    const char *end = memmem(c->head + from, had + n - from, "\r\n\r\n", 4);
    if (end == NULL) {
        c->head_len += n;
        *in = bytes_skip(*in, n);
        return n < room;
    }
    size_t head_len = (size_t)(end - c->head) + 4;
    *in = bytes_skip(*in, head_len - had);
    c->head_len = 0;
    return read_head(c, bytes_of(c->head, head_len));
}

/* Takes a line of chunk framing.  False: it is too long. */
static bool take_line(struct conn *c, struct bytes *in) {
    char last = in->at[0];
    if (c->head_len == CHUNK_LINE)
        return false;
    c->head[c->head_len++] = last;
    *in = bytes_skip(*in, 1);
    if (last != '\n')
        return true;
    size_t len = c->head_len;
    c->head[len] = '\0';
    c->head_len = 0;
    if (c->state == IN_TRAILER) {
        if (len <= 2)
            c->state = IN_BODY; /* of which nothing is left */
    } else if (len > 2) {       /* not the line end behind a chunk's data */
        c->left = strtoull(c->head, NULL, 16);
        c->state = c->left > 0 ? IN_CHUNK : IN_TRAILER;
    }
    return true;
}

static void take_body(struct conn *c, struct bytes *in) {
    size_t n = in->len < c->left ? in->len : (size_t)c->left;
    c->left -= n;
    *in = bytes_skip(*in, n);
    if (c->left == 0 && c->state == IN_CHUNK)
        c->state = IN_CHUNK_LINE;
}

/* Eats what came; answers each request as its body ends.  False: close. */
static bool feed(int ep, struct conn *c, struct bytes in) {
    while (in.len > 0 || (c->state == IN_BODY && c->left == 0)) {
        if (c->state == IN_BODY && c->left == 0) {
            int sent = send_out(c);
            if (sent > 0)
                watch(ep, EPOLL_CTL_MOD, c->fd, EPOLLOUT);
            c->state = IN_HEAD;
            if (sent != 0)
                return sent > 0 && in.len == 0; /* no pipelining behind a full socket */
        } else if (c->state == IN_HEAD) {
            if (!take_head(c, &in))
                return false;
        } else if (c->state == IN_BODY || c->state == IN_CHUNK) {
            take_body(c, &in);
        } else if (!take_line(c, &in)) {
            return false;
        }
    }
    return true;
}

static void accept_all(int ep, int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= CONNS_MAX)
            fail("too many connections");
        conns[fd] = need(calloc(1, sizeof(*conns[fd])));
        conns[fd]->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        watch(ep, EPOLL_CTL_ADD, fd, EPOLLIN);
    }
}

static void on_event(int ep, struct conn *c, uint32_t events) {
    static char buf[READ_SIZE];
    bool alive = true;
    if ((events & EPOLLOUT) != 0) {
        int sent = send_out(c);
        alive = sent >= 0;
        if (sent == 0)
            watch(ep, EPOLL_CTL_MOD, c->fd, EPOLLIN);
    } else {
        ssize_t n = recv(c->fd, buf, sizeof(buf), 0);
        if (n > 0)
            alive = feed(ep, c, bytes_of(buf, (size_t)n));
        else
            alive = n < 0 && errno == EAGAIN;
    }
    if (!alive) {
        conns[c->fd] = NULL;
        close(c->fd);
        free(c);
    }
}

static int listen_anywhere(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) != 0)
        fail("listen");
    printf("listening on %d\n", ntohs(at.sin_port));
    fflush(stdout);
    return fd;
}

int main(void) {
    struct epoll_event events[256];
    reply_c10 = scores_reply(10);
    reply_c1000 = scores_reply(1000);
    reply_empty = reply_of(BYTES_LITERAL("{}"));
    int listener = listen_anywhere(), ep = epoll_create1(0);
    watch(ep, EPOLL_CTL_ADD, listener, EPOLLIN);
    for (;;) {
        int n = epoll_wait(ep, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_all(ep, listener);
            else
                on_event(ep, conns[fd], events[i].events);
        }
    }
}
