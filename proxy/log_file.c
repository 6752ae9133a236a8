#include "log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/list.h"
#include "base/log.h"

struct parcel {
    struct list link;
    struct buf lines;
};

struct log_file {
    const char *name;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool running, stop;
    struct list parcels; /* to be written, oldest first */
    size_t waiting;      /* bytes in them and in the one being written */
    int fd;              /* -1: none */
};

static void write_all(const struct log_file *f, int fd, struct bytes b) {
    while (b.len > 0 && fd >= 0) {
        ssize_t n = write(fd, b.at, b.len);
        if (n < 0 && errno != EINTR) {
            log_line(LOG_ERROR, "%s: %s; lines are lost", f->name, strerror(errno));
            return;
        }
        b = bytes_skip(b, n > 0 ? (size_t)n : 0);
    }
}

/* The next parcel and a descriptor of our own to write it to; NULL: it is time to stop. */
static struct parcel *next_parcel(struct log_file *f, int *fd) {
    struct parcel *p = NULL;
    pthread_mutex_lock(&f->lock);
    while (list_empty(&f->parcels) && !f->stop)
        pthread_cond_wait(&f->wake, &f->lock);
    if (!list_empty(&f->parcels)) {
        p = list_object(f->parcels.next, struct parcel, link);
        list_remove(&p->link);
    }
    *fd = p != NULL && f->fd >= 0 ? fcntl(f->fd, F_DUPFD_CLOEXEC, 3) : -1;
    pthread_mutex_unlock(&f->lock);
    return p;
}

static void *writer(void *cookie) {
    struct log_file *f = cookie;
    struct parcel *p;
    int fd;
    while ((p = next_parcel(f, &fd)) != NULL) {
        write_all(f, fd, buf_bytes(&p->lines));
        if (fd >= 0)
            close(fd);
        pthread_mutex_lock(&f->lock);
        f->waiting -= p->lines.len;
        pthread_mutex_unlock(&f->lock);
        buf_free(&p->lines);
        free(p);
    }
    return NULL;
}

static bool start_writer(struct log_file *f) {
    if (!f->running)
        f->running = pthread_create(&f->thread, NULL, writer, f) == 0;
    return f->running;
}

struct log_file *log_file_new(const char *name) {
    struct log_file *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return NULL;
    f->name = name;
    f->fd = -1;
    list_init(&f->parcels);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->wake, NULL);
    return f;
}

/* A named pipe that nobody reads would keep whoever opens it waiting: that is an error (ENXIO).
 * Its writer, in a thread of its own, may wait. */
static int open_path(struct bytes path) {
    int fd = open(path.at, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0640);
    if (fd >= 0)
        fcntl(fd, F_SETFL, O_APPEND);
    return fd;
}

bool log_file_open(struct log_file *f, struct bytes path) {
    int fd = -1;
    if (bytes_is(path, "-"))
        fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    else if (path.len > 0)
        fd = open_path(path);
    if (path.len > 0 && (fd < 0 || !start_writer(f))) {
        log_line(LOG_ERROR, "%s %.*s: %s", f->name, (int)path.len, path.at,
                 errno == ENXIO ? "nobody reads this pipe" : strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    pthread_mutex_lock(&f->lock);
    if (f->fd >= 0)
        close(f->fd);
    f->fd = fd;
    pthread_mutex_unlock(&f->lock);
    return true;
}

bool log_file_write(struct log_file *f, struct buf *lines, size_t most) {
    struct parcel *p = malloc(sizeof(*p));
    size_t cap = lines->cap;
    bool taken = false;
    pthread_mutex_lock(&f->lock);
    if (p != NULL && f->running && f->waiting + lines->len <= most) {
        f->waiting += lines->len;
        p->lines = *lines;
        list_push(&f->parcels, &p->link);
        pthread_cond_signal(&f->wake);
        buf_init(lines, cap);
        taken = true;
    }
    pthread_mutex_unlock(&f->lock);
    if (!taken) {
        free(p);
        buf_clear(lines);
    }
    return taken;
}

/* False: the writer is stuck, in a full pipe, and still uses f. */
static bool stop_writer(struct log_file *f) {
    struct timespec end;
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->lock);
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 1;
    return pthread_timedjoin_np(f->thread, NULL, &end) == 0;
}

void log_file_free(struct log_file *f) {
    /* A stuck writer is left to the end of the process. */
    if (f == NULL || (f->running && !stop_writer(f)))
        return;
    if (f->fd >= 0)
        close(f->fd);
    pthread_cond_destroy(&f->wake);
    pthread_mutex_destroy(&f->lock);
    free(f);
}
