#include <netinet/in.h>
#include <stdio.h>
#include <sys/un.h>

#include "config_private.h"

/* Of a name, an IPv4 or an IPv6 address; these also go into a Host header. */
static bool is_host(struct bytes host, bool bracketed) {
    for (size_t i = 0; i < host.len; i++) {
        char c = ascii_lower(host.at[i]);
        bool name = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
        if (!name && c != '_' && !(bracketed && (c == ':' || c == '%')))
            return false;
    }
    return host.len > 0 && host.len < 256;
}

/* False: not HOST:PORT or [IPV6]:PORT. */
static bool split(struct bytes text, struct bytes *host, struct bytes *port) {
    bool bracketed = bytes_starts(text, "[");
    uint64_t number;
    *port = bracketed ? bytes_skip(text, 1) : text;
    *host = bytes_cut(port, bracketed ? ']' : ':');
    if (bracketed && !bytes_starts(*port, ":"))
        return false;
    if (bracketed)
        *port = bytes_skip(*port, 1);
    return is_host(*host, bracketed) && bytes_to_u64(*port, 65535, &number) && number > 0;
}

static bool resolve(struct reading *r, const struct yaml_node *at, struct bytes port,
                    struct address *out) {
    struct bytes digits = arena_copy(r->scratch, port);
    if (digits.at == NULL || out->host.at == NULL) {
        config_no_memory(r);
        return false;
    }
    const char *why = r->io->resolve(out->host.at, digits.at, &out->at, &out->len);
    if (why != NULL)
        diagnostics_add(&r->d, at->place, at->width, NULL, "cannot resolve '%s': %s", out->host.at,
                        why);
    return why == NULL;
}

static bool read_unix(struct reading *r, const struct yaml_node *at, struct address *out) {
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct bytes path = bytes_skip(out->text, strlen("unix:"));
    if (!bytes_starts(path, "/") || path.len >= sizeof(local.sun_path)) {
        diagnostics_add(&r->d, at->place, at->width, NULL,
                        "expected unix:/PATH, a path of at most %zu bytes",
                        sizeof(local.sun_path) - 1);
        return false;
    }
    memcpy(local.sun_path, path.at, path.len);
    memcpy(&out->at, &local, sizeof(local));
    out->len = sizeof(local);
    return true;
}

/* As other servers write it. */
static const char *every_address(struct bytes text) {
    bool said =
        bytes_starts(text, "*:") || (text.len > 1 && text.at[0] == ':' && text.at[1] != ':');
    return said ? "for every address: 0.0.0.0:PORT or \"[::]:PORT\"" : NULL;
}

bool config_address(struct reading *r, const struct yaml_node *at, struct address *out) {
    struct bytes host, port;
    if (bytes_starts(out->text, "unix:"))
        return read_unix(r, at, out);
    if (!split(out->text, &host, &port)) {
        diagnostics_add(&r->d, at->place, at->width, every_address(out->text),
                        "expected HOST:PORT, [IPV6]:PORT or unix:/PATH, with a port from 1 to "
                        "65535, not '%s'",
                        out->text.at);
        return false;
    }
    out->host = arena_copy(r->c->arena, host);
    return resolve(r, at, port, out);
}

bool config_url(struct reading *r, const struct yaml_node *at, struct bytes url,
                struct endpoint_conf *out) {
    struct bytes host, port, authority;
    out->url = url;
    out->tls = bytes_starts(url, "https://");
    authority = bytes_skip(url, out->tls ? strlen("https://") : strlen("http://"));
    if (authority.len > 0 && authority.at[authority.len - 1] == '/')
        authority.len--;
    if ((!out->tls && !bytes_starts(url, "http://")) || !split(authority, &host, &port)) {
        diagnostics_add(&r->d, at->place, at->width, NULL,
                        "expected http://HOST:PORT or https://HOST:PORT, without a path, not '%s'",
                        url.at);
        return false;
    }
    out->authority = arena_copy(r->c->arena, authority);
    out->address.text = out->authority;
    out->address.host = arena_copy(r->c->arena, host);
    return resolve(r, at, port, &out->address);
}

bool address_is_loopback(const struct address *a) {
    const struct sockaddr_in *four = (const struct sockaddr_in *)&a->at;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&a->at;
    if (a->at.ss_family == AF_INET)
        return ntohl(four->sin_addr.s_addr) >> 24 == 127;
    if (a->at.ss_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&six->sin6_addr) ||
               (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr) && six->sin6_addr.s6_addr[12] == 127);
    return a->at.ss_family == AF_UNIX;
}
