#include "listen.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "conn.h"

enum { BACKLOG = 1024 };

struct listener {
    struct list link; /* worker->listeners */
    struct worker *worker;
    int fd, index;
    int reserve; /* a descriptor kept for the day there is none */
    struct event readable;
    struct timer pause;
    const struct front_handler *handler;
};

/* The socket that an earlier process left behind; nothing that is no socket. */
static void remove_socket(const char *path) {
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(path);
}

int listen_socket(const struct address *address, bool shared, char *error, size_t len) {
    static const int one = 1;
    const struct sockaddr *at = (const struct sockaddr *)&address->at;
    bool local = at->sa_family == AF_UNIX;
    mode_t mask = 0;
    int fd = socket(at->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        goto fail;
    if (local)
        remove_socket(((const struct sockaddr_un *)at)->sun_path);
    else if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
             (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) != 0))
        goto fail;
    if (local)
        mask = umask(0177);
    int bound = bind(fd, at, address->len);
    if (local)
        umask(mask);
    if (bound == 0 && listen(fd, BACKLOG) == 0)
        return fd;
fail:
    snprintf(error, len, "cannot listen on %.*s: %s", (int)address->text.len, address->text.at,
             strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

static void keep_reserve(struct listener *l) {
    if (l->reserve < 0)
        l->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Takes a waiting connection with the spare descriptor and closes it.  False: there is none, or
 * another thread was quicker to take what was spared. */
static bool shed_one(struct listener *l) {
    keep_reserve(l);
    if (l->reserve < 0)
        return false;
    close(l->reserve);
    int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    l->reserve = -1;
    keep_reserve(l);
    return fd >= 0;
}

/* Out of descriptors: those who wait are sent away, so that they learn at once, and then accepting
 * pauses, so that the loop does not spin. */
static void shed(struct listener *l) {
    struct worker *w = l->worker;
    for (unsigned i = 0; i < ACCEPTS_PER_WAKE_MAX && shed_one(l); i++)
        continue;
    stats_count(w->stats, COUNT_accept_pauses);
    event_del(&l->readable);
    timer_set(&w->timers, &l->pause, clock_us(), ACCEPT_PAUSE);
}

static void on_pause_over(struct timer *t) {
    struct listener *l = list_object(t, struct listener, pause);
    keep_reserve(l);
    event_add(&l->readable, NULL);
}

/* False: there is nothing more to accept now. */
static bool accept_one(struct listener *l) {
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof(address);
    int fd = accept4(l->fd, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        conn_open(l->worker, fd, (struct sockaddr *)&address, len, l->index, l->handler);
        return true;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        shed(l);
        return false;
    }
    return errno == EINTR || errno == ECONNABORTED;
}

static void on_readable(evutil_socket_t fd, short what, void *cookie) {
    (void)fd, (void)what;
    for (unsigned i = 0; i < ACCEPTS_PER_WAKE_MAX && accept_one(cookie); i++)
        continue;
}

static void listener_free(struct listener *l) {
    timer_stop(&l->pause);
    event_del(&l->readable);
    close(l->fd);
    close(l->reserve);
    list_remove(&l->link);
    free(l);
}

bool listen_start(struct worker *w, int fd, int index, const struct front_handler *handler) {
    struct listener *l = calloc(1, sizeof(*l));
    if (l == NULL) {
        close(fd);
        return false;
    }
    *l = (struct listener){.worker = w,
                           .fd = fd,
                           .index = index,
                           .reserve = open("/dev/null", O_RDONLY | O_CLOEXEC),
                           .handler = handler};
    timer_init(&l->pause, on_pause_over);
    list_push(&w->listeners, &l->link);
    if (event_assign(&l->readable, w->base, fd, EV_READ | EV_PERSIST, on_readable, l) == 0 &&
        event_add(&l->readable, NULL) == 0)
        return true;
    listener_free(l);
    return false;
}

void listen_stop(struct worker *w) {
    while (!list_empty(&w->listeners)) {
        struct listener *l = list_object(w->listeners.next, struct listener, link);
        while (!timer_is_set(&l->pause) && accept_one(l))
            continue;
        listener_free(l);
    }
}
