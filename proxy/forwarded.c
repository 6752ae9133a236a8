#include "forwarded.h"

#include "base/limits.h"

/* IPV4, IPV4:PORT, [IPV6], [IPV6]:PORT and, if bare, IPV6. */
static bool parse_node(struct bytes text, bool bare, struct ip *out) {
    struct bytes rest = text, host;
    uint64_t port;
    if (bare && ip_parse(text, out))
        return true;
    if (!bytes_starts(text, "[")) {
        host = bytes_cut(&rest, ':');
        return (rest.at == NULL || bytes_to_u64(rest, 65535, &port)) && ip_parse(host, out);
    }
    rest = bytes_skip(rest, 1);
    host = bytes_cut(&rest, ']');
    bool closed = rest.at != NULL, six = memchr(host.at, ':', host.len) != NULL;
    if (closed && rest.len > 0 &&
        (rest.at[0] != ':' || !bytes_to_u64(bytes_skip(rest, 1), 65535, &port)))
        return false;
    return closed && six && ip_parse(host, out);
}

static bool is_token(struct bytes s) {
    for (size_t i = 0; i < s.len; i++) {
        char c = ascii_lower(s.at[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
              (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL)))
            return false;
    }
    return s.len > 0;
}

/* A token, or a quoted string without escapes, which no address needs. */
static bool unquote(struct bytes *value) {
    if (!bytes_starts(*value, "\""))
        return is_token(*value);
    if (value->len < 2 || value->at[value->len - 1] != '"')
        return false;
    *value = bytes_of(value->at + 1, value->len - 2);
    return memchr(value->at, '"', value->len) == NULL &&
           memchr(value->at, '\\', value->len) == NULL;
}

/* for=NODE among the pairs of one entry, each of which must be one: what looks like an entry in the
 * middle of somebody's quoted string has an odd quote. */
static bool parse_forwarded(struct bytes entry, struct ip *out) {
    unsigned found = 0;
    while (entry.at != NULL) {
        struct bytes value = bytes_trim(bytes_cut(&entry, ';'));
        struct bytes name = bytes_cut(&value, '=');
        if (!is_token(name) || value.at == NULL || !unquote(&value))
            return false;
        if (bytes_is_nocase(name, "for") && (found++ > 0 || !parse_node(value, false, out)))
            return false;
    }
    return found == 1;
}

/* Cuts the last entry off *list.  False: there is none. */
static bool cut_last(struct bytes *list, struct bytes *entry) {
    if (list->at == NULL)
        return false;
    const char *comma = list->len > 0 ? memrchr(list->at, ',', list->len) : NULL;
    size_t kept = comma != NULL ? (size_t)(comma - list->at) : 0;
    *entry = bytes_trim(comma != NULL ? bytes_skip(*list, kept + 1) : *list);
    *list = comma != NULL ? bytes_of(list->at, kept) : bytes_of(NULL, 0);
    return true;
}

static bool is_trusted(const struct forwarded_conf *conf, const struct ip *a) {
    for (uint32_t i = 0; i < conf->trusted_count; i++)
        if (ip_in(a, &conf->trusted[i]))
            return true;
    return false;
}

/* The walk: *out is the hop that passed on what is looked at next. */
struct walk {
    const struct forwarded_conf *conf;
    struct ip *out;
    unsigned hops;
    bool moved; /* *out is set */
};

/* False: the walk is over. */
static bool step(struct walk *w, struct bytes entry) {
    struct ip hop;
    bool good = w->conf->header == FORWARDED_X_FOR ? parse_node(entry, true, &hop)
                                                   : parse_forwarded(entry, &hop);
    if (!good || ++w->hops > FORWARDED_HOPS_MAX)
        return false;
    *w->out = hop;
    w->moved = true;
    return is_trusted(w->conf, &hop);
}

bool forwarded_client(const struct forwarded_conf *conf, const struct message *head,
                      const struct ip *peer, struct ip *out) {
    static const char *const names[] = {"", "X-Forwarded-For", "Forwarded"};
    struct walk w = {.conf = conf, .out = out};
    if (conf->header == FORWARDED_NONE ||
        !(peer != NULL ? is_trusted(conf, peer) : conf->trust_local))
        return false;
    for (uint32_t i = head->header_count; i-- > 0;) {
        struct bytes list = head->headers[i].value, entry;
        if (!bytes_is_nocase(head->headers[i].name, names[conf->header]))
            continue;
        if (list.at == NULL)
            list.at = "";
        while (cut_last(&list, &entry))
            if (!step(&w, entry))
                return w.moved;
    }
    return w.moved;
}
