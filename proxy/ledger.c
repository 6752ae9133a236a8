#include "ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/require.h"
#include "ledger_line.h"
#include "log_file.h"

struct ledger {
    struct log_file *file;
    pthread_mutex_t lock; /* of all below: lines are made and handed over in one order */
    struct buf path;      /* of what is open, NUL-terminated; empty: nothing is */
    dev_t device;
    ino_t inode;
    struct ledger_chain chain;
};

struct ledger *ledger_new(void) {
    struct ledger *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return NULL;
    l->file = log_file_new("ledger");
    if (l->file == NULL) {
        free(l);
        return NULL;
    }
    buf_init(&l->path, KIB(8));
    require(pthread_mutex_init(&l->lock, NULL) == 0);
    return l;
}

void ledger_free(struct ledger *l) {
    log_file_free(l->file);
    pthread_mutex_destroy(&l->lock);
    buf_free(&l->path);
    free(l);
}

/* ---- Opening ---- */

static bool fail(struct bytes path, const char *why) {
    log_line(LOG_ERROR, "ledger %.*s: %s", (int)path.len, path.at, why);
    return false;
}

/* The end of the file, from a line's beginning if there is one in it: up to LEDGER_LINE_MAX bytes
 * and one line that was torn by a crash.  False: it cannot be read. */
static bool read_end(int fd, char *end, size_t room, struct bytes *out, off_t *at) {
    struct stat st;
    if (fstat(fd, &st) != 0)
        return false;
    *at = st.st_size > (off_t)room ? st.st_size - (off_t)room : 0;
    ssize_t n = pread(fd, end, room, *at);
    *out = bytes_of(end, n > 0 ? (size_t)n : 0);
    return n >= 0;
}

/* Takes up the chain at the last whole line; one that was torn is cut off. */
static bool take_up(int fd, struct bytes path, struct ledger_chain *chain) {
    char room[2 * LEDGER_LINE_MAX];
    struct bytes text, last = {NULL, 0};
    off_t at;
    size_t whole;
    if (!read_end(fd, room, sizeof(room), &text, &at))
        return fail(path, strerror(errno));
    for (whole = text.len; whole > 0 && text.at[whole - 1] != '\n';)
        whole--;
    if (whole == 0 && text.len > 0 && at > 0)
        return fail(path, "its end is no line of a ledger");
    if (whole < text.len && ftruncate(fd, at + (off_t)whole) != 0)
        return fail(path, strerror(errno));
    if (whole < text.len)
        log_line(LOG_NOTICE, "ledger: a line that was cut off by a crash is removed");
    text.len = whole;
    while (text.len > 0)
        last = bytes_cut(&text, '\n');
    if (whole > 0 && !ledger_take_up(chain, last))
        return fail(path, "its last line is no line of a ledger, or its hash does not hold under "
                          "this key");
    return true;
}

static bool same_file(const struct ledger *l, const struct stat *st, struct bytes path) {
    return bytes_eq(bytes_of(l->path.at, l->path.len), path) && l->device == st->st_dev &&
           l->inode == st->st_ino;
}

/* An empty file of the same ledger goes on with the chain that is held. */
static bool open_file(struct ledger *l, const struct ledger_conf *conf, int fd) {
    struct ledger_chain chain = l->chain;
    struct stat st;
    chain.keyed = conf->keyed;
    memcpy(chain.key, conf->key, sizeof(chain.key));
    if (fstat(fd, &st) != 0)
        return fail(conf->path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return fail(conf->path, "not a regular file");
    if (!same_file(l, &st, conf->path) && !take_up(fd, conf->path, &chain))
        return false;
    if (!log_file_open(l->file, conf->path))
        return false;
    l->chain = chain;
    l->device = st.st_dev;
    l->inode = st.st_ino;
    buf_clear(&l->path);
    buf_add_bytes(&l->path, conf->path);
    return true;
}

bool ledger_open(struct ledger *l, const struct ledger_conf *conf) {
    if (conf->path.len == 0)
        return log_file_open(l->file, conf->path);
    int fd = open(conf->path.at, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0640);
    if (fd < 0)
        return fail(conf->path, strerror(errno));
    pthread_mutex_lock(&l->lock);
    bool ok = open_file(l, conf, fd);
    pthread_mutex_unlock(&l->lock);
    close(fd);
    return ok;
}

/* ---- Adding ---- */

bool ledger_add(struct ledger *l, const struct ledger_entry *entry) {
    struct buf line;
    buf_init(&line, LEDGER_LINE_MAX);
    pthread_mutex_lock(&l->lock);
    struct ledger_chain next = l->chain;
    bool ok = ledger_line(&next, entry, &line) && log_file_write(l->file, &line, LEDGER_BUFFER_MAX);
    if (ok)
        l->chain = next;
    pthread_mutex_unlock(&l->lock);
    buf_free(&line);
    return ok;
}
