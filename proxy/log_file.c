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

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool running, stop;
    struct list parcels; /* to be written, oldest first */
    size_t waiting;      /* bytes in them and in the one being written */
    int fd;              /* -1: none */
} file = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .fd = -1};

static void write_all(int fd, struct bytes b) {
    while (b.len > 0 && fd >= 0) {
        ssize_t n = write(fd, b.at, b.len);
        if (n < 0 && errno != EINTR) {
            log_line(LOG_ERROR, "access log: %s; lines are lost", strerror(errno));
            return;
        }
        b = bytes_skip(b, n > 0 ? (size_t)n : 0);
    }
}

/* The next parcel and a descriptor of our own to write it to; NULL: it is time to stop. */
static struct parcel *next_parcel(int *fd) {
    struct parcel *p = NULL;
    pthread_mutex_lock(&file.lock);
    while (list_empty(&file.parcels) && !file.stop)
        pthread_cond_wait(&file.wake, &file.lock);
    if (!list_empty(&file.parcels)) {
        p = list_object(file.parcels.next, struct parcel, link);
        list_remove(&p->link);
    }
    *fd = p != NULL && file.fd >= 0 ? fcntl(file.fd, F_DUPFD_CLOEXEC, 3) : -1;
    pthread_mutex_unlock(&file.lock);
    return p;
}

static void *writer(void *cookie) {
    struct parcel *p;
    int fd;
    while ((p = next_parcel(&fd)) != NULL) {
        write_all(fd, buf_bytes(&p->lines));
        if (fd >= 0)
            close(fd);
        pthread_mutex_lock(&file.lock);
        file.waiting -= p->lines.len;
        pthread_mutex_unlock(&file.lock);
        buf_free(&p->lines);
        free(p);
    }
    return cookie;
}

static bool start_writer(void) {
    if (file.running)
        return true;
    list_init(&file.parcels);
    file.stop = false;
    file.running = pthread_create(&file.thread, NULL, writer, NULL) == 0;
    return file.running;
}

bool log_file_open(struct bytes path) {
    int fd = -1;
    if (bytes_is(path, "-"))
        fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    else if (path.len > 0)
        fd = open(path.at, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (path.len > 0 && (fd < 0 || !start_writer())) {
        log_line(LOG_ERROR, "access log %.*s: %s", (int)path.len, path.at, strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    pthread_mutex_lock(&file.lock);
    if (file.fd >= 0)
        close(file.fd);
    file.fd = fd;
    pthread_mutex_unlock(&file.lock);
    return true;
}

bool log_file_write(struct buf *lines, size_t most) {
    struct parcel *p = malloc(sizeof(*p));
    size_t cap = lines->cap;
    bool taken = false;
    pthread_mutex_lock(&file.lock);
    if (p != NULL && file.running && file.waiting + lines->len <= most) {
        file.waiting += lines->len;
        p->lines = *lines;
        list_push(&file.parcels, &p->link);
        pthread_cond_signal(&file.wake);
        buf_init(lines, cap);
        taken = true;
    }
    pthread_mutex_unlock(&file.lock);
    if (!taken) {
        free(p);
        buf_clear(lines);
    }
    return taken;
}

void log_file_close(void) {
    struct timespec end;
    if (file.running) {
        pthread_mutex_lock(&file.lock);
        file.stop = true;
        pthread_cond_signal(&file.wake);
        pthread_mutex_unlock(&file.lock);
        clock_gettime(CLOCK_REALTIME, &end);
        end.tv_sec += 1;
        /* A writer that is stuck in a full pipe is left to the end of the process. */
        if (pthread_timedjoin_np(file.thread, NULL, &end) != 0)
            return;
        file.running = false;
    }
    if (file.fd >= 0)
        close(file.fd);
    file.fd = -1;
}
