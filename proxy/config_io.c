#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "config_private.h"

/* Nobody but the reader may read a secret.  A file of another owner (root's, as service managers
 * and Kubernetes mount them) reaches us through its group, and then the group may read it. */
static bool is_private(const struct stat *st) {
    uid_t me = geteuid();
    mode_t others = me != 0 && st->st_uid != me ? 0027 : 0077;
    return (st->st_mode & others) == 0;
}

static const char *system_error(char why[CONFIG_WHY_MAX]) {
    snprintf(why, CONFIG_WHY_MAX, "%m");
    return why;
}

static const char *check_mode(int fd, bool secret, char why[CONFIG_WHY_MAX]) {
    struct stat st;
    if (fstat(fd, &st) != 0)
        return system_error(why);
    if (S_ISDIR(st.st_mode))
        return "it is a directory";
    if (secret && !S_ISREG(st.st_mode))
        return "a secret must be a plain file";
    if (!secret || is_private(&st))
        return NULL;
    snprintf(why, CONFIG_WHY_MAX, "it is a secret that others may read (mode %04o): chmod 600",
             (unsigned)(st.st_mode & 07777));
    return why;
}

static const char *read_all(int fd, struct buf *out, char why[CONFIG_WHY_MAX]) {
    for (;;) {
        char *to = buf_reserve(out, KIB(4));
        if (to == NULL) {
            snprintf(why, CONFIG_WHY_MAX, "it is larger than %zu bytes", out->cap - KIB(4));
            return why;
        }
        ssize_t n = read(fd, to, KIB(4));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return system_error(why);
        if (n == 0)
            return NULL;
        out->len += (size_t)n;
    }
}

static const char *load(const char *path, bool secret, struct buf *out, char why[CONFIG_WHY_MAX]) {
    /* Secrets are read by workers too, which must not wait for a pipe's writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | (secret ? O_NONBLOCK : 0));
    if (fd < 0)
        return system_error(why);
    const char *wrong = check_mode(fd, secret, why);
    if (wrong == NULL && out != NULL)
        wrong = read_all(fd, out, why);
    close(fd);
    return wrong;
}

/* Servers started without care listen on IPv4 only, so that comes first. */
static const char *resolve(const char *host, const char *port, struct sockaddr_storage *at,
                           socklen_t *len) {
    struct addrinfo want = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found, *best;
    int status = getaddrinfo(host, port, &want, &found);
    if (status != 0)
        return gai_strerror(status);
    for (best = found; best != NULL && best->ai_family != AF_INET; best = best->ai_next)
        continue;
    if (best == NULL)
        best = found;
    if (best == NULL)
        return "it has no address";
    memcpy(at, best->ai_addr, best->ai_addrlen);
    *len = best->ai_addrlen;
    freeaddrinfo(found);
    return NULL;
}

const struct config_io config_system_io = {.load = load, .resolve = resolve};
