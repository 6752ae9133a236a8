/* redis_cluster.c - who has which slot, and redirects.
 *
 * The map is asked for with CLUSTER SLOTS, on a connection of its own: at the start, when a node is
 * lost, and when a redirect says that it is old.  Nodes are what the Cluster names, by IP address:
 * to look up a host name would block. */
#include <stdlib.h>

#include "base/clock.h"
#include "redis_private.h"

static void refresh(struct redis *r) {
    uint64_t now = clock_us(), next = r->asked + REDIS_REFRESH_PAUSE;
    if (r->asker->state == LINK_IDLE)
        redis_link_after(r->asker, r->asked == 0 || next <= now ? 0 : next - now);
}

void redis_member_lost(struct redis_link *l) {
    redis_link_retry(l);
    refresh(l->redis);
}

/* A node that is connected; else one of the configuration and one of the map by turns. */
static const struct redis_node *whom_to_ask(struct redis *r) {
    unsigned turn = r->cursor++, seeds = r->conf->server_count;
    for (unsigned i = 0; i < r->node_count; i++) {
        struct redis_node *n = r->nodes[(turn + i) % r->node_count];
        struct redis_link *l = n != NULL ? redis_node_link(n, 0) : NULL;
        if (l != NULL && l->state == LINK_READY)
            return n;
    }
    if (turn % 2 == 1 && r->node_count > 0 && r->nodes[turn / 2 % r->node_count] != NULL)
        return r->nodes[turn / 2 % r->node_count];
    redis_node_configured(&r->peer, &r->conf->servers[turn / 2 % seeds].address);
    return &r->peer;
}

void redis_map_dial(struct redis_link *l) {
    struct redis *r = l->redis;
    const struct redis_node *to = whom_to_ask(r);
    if (to != &r->peer)
        redis_node_copy(&r->peer, to); /* It may leave while it is asked. */
    r->asked = clock_us();
    redis_link_dial(l, &r->peer);
}

/* The index of the node at this address, which is made when there is none; NO_NODE: no place, no
 * memory. */
static unsigned node_at(struct redis *r, const struct redis_node *address) {
    unsigned hole = r->node_count;
    for (unsigned i = 0; i < r->node_count; i++) {
        if (r->nodes[i] == NULL)
            hole = i;
        else if (redis_node_is(r->nodes[i], address))
            return i;
    }
    struct redis_node *n = hole < REDIS_NODES_MAX ? redis_node_new(r) : NULL;
    if (n == NULL)
        return NO_NODE;
    redis_node_copy(n, address);
    r->nodes[hole] = n;
    if (hole == r->node_count)
        r->node_count++;
    return hole;
}

static void dial_idle(struct redis_node *n) {
    for (unsigned i = 0; i < REDIS_CONNECTIONS; i++)
        if (n->links[i]->state == LINK_IDLE)
            redis_link_dial(n->links[i], n);
}

/* The index behind values[at] and what is in it. */
static uint32_t behind(const struct redis_value *values, uint32_t at) {
    for (uint64_t left = 1; left > 0; left--, at++)
        if (values[at].type == REDIS_ARRAY)
            left += (uint64_t)values[at].integer;
    return at;
}

/* No host: the one that was asked. */
static bool read_node(const struct redis_value *ip, const struct redis_value *port,
                      const struct redis_node *asked, struct redis_node *out) {
    if (port->type != REDIS_INTEGER || port->integer <= 0)
        return false;
    if (ip->type == REDIS_NIL || (ip->type == REDIS_TEXT && ip->text.len == 0))
        return redis_node_same_host(out, asked, (uint64_t)port->integer);
    return ip->type == REDIS_TEXT && redis_node_set(out, ip->text, (uint64_t)port->integer);
}

/* First slot, last slot, the master (IP, port, ...), replicas...: into owners. */
static const char *read_range(struct redis_link *l, const struct redis_value *v, uint32_t count,
                              uint16_t *owners) {
    static const char *const odd = "it tells of its slots in a form that is not known";
    struct redis *r = l->redis;
    struct redis_node address = {.known = false};
    if (count < 6 || v[0].type != REDIS_ARRAY || v[0].integer < 3 || v[1].type != REDIS_INTEGER ||
        v[2].type != REDIS_INTEGER || v[3].type != REDIS_ARRAY || v[3].integer < 2 ||
        v[1].integer < 0 || v[1].integer > v[2].integer || v[2].integer >= REDIS_SLOTS)
        return odd;
    if (!read_node(&v[4], &v[5], l->peer, &address))
        return "it names a node by a host name: set `cluster-preferred-endpoint-type ip`";
    unsigned owner = node_at(r, &address);
    if (owner == NO_NODE)
        return "it has more nodes than can be used";
    for (int64_t slot = v[1].integer; slot <= v[2].integer; slot++)
        owners[slot] = (uint16_t)owner;
    return NULL;
}

static const char *read_ranges(struct redis_link *l, const struct redis_reply *reply,
                               uint16_t *owners) {
    for (uint32_t at = 0; at < reply->count; at = behind(reply->values, at)) {
        const char *why = read_range(l, reply->values + at, reply->count - at, owners);
        if (why != NULL)
            return why;
    }
    return NULL;
}

/* Nodes that have no slots go, but for those that redirects still name: a node that takes its first
 * slots over is in no map. */
static void drop_nodes(struct redis *r) {
    bool named[REDIS_NODES_MAX] = {false};
    uint64_t now = clock_us();
    for (unsigned slot = 0; slot < REDIS_SLOTS; slot++)
        if (r->owners[slot] != NO_NODE)
            named[r->owners[slot]] = true;
    for (unsigned i = 0; i < r->node_count; i++) {
        struct redis_node *n = r->nodes[i];
        if (n == NULL || named[i] || (n->redirected != 0 && now - n->redirected < REDIS_NODE_KEEP))
            continue;
        r->nodes[i] = NULL;
        redis_node_free(n);
    }
}

const char *redis_map_hear(struct redis_link *l, const struct redis_reply *reply) {
    struct redis *r = l->redis;
    if (!reply->array || reply->count == 0)
        return "none of its slots has an owner";
    uint16_t *owners = malloc(REDIS_SLOTS * sizeof(*owners));
    if (owners == NULL)
        return "no memory for its slots";
    for (unsigned i = 0; i < REDIS_SLOTS; i++)
        owners[i] = NO_NODE;
    const char *why = read_ranges(l, reply, owners);
    if (why == NULL) {
        uint16_t *old = r->owners;
        r->owners = owners;
        owners = old;
    }
    free(owners);
    drop_nodes(r); /* Of the old map; or of the one that was refused. */
    return why;
}

void redis_map_ready(struct redis_link *l) {
    struct redis *r = l->redis;
    redis_link_hang_up(l);
    l->attempts = 0;
    for (unsigned i = 0; i < r->node_count; i++)
        if (r->nodes[i] != NULL)
            dial_idle(r->nodes[i]);
}

struct redis_link *redis_cluster_link(struct redis *r, uint16_t slot) {
    uint16_t owner = r->owners[slot];
    struct redis_node *n = owner != NO_NODE ? r->nodes[owner] : NULL;
    if (n == NULL)
        refresh(r);
    struct redis_link *l = n != NULL ? redis_node_link(n, slot) : NULL;
    return l != NULL && l->state == LINK_READY ? l : NULL;
}

/* "3999 127.0.0.1:6381", behind MOVED or ASK; IPv6 addresses stand without brackets. */
static bool read_redirect(struct bytes text, const struct redis_node *from, uint16_t slot,
                          struct redis_node *out) {
    uint64_t number, port;
    struct bytes first = bytes_cut(&text, ' ');
    const char *colon = text.len > 0 ? memrchr(text.at, ':', text.len) : NULL;
    if (!bytes_to_u64(first, REDIS_SLOTS - 1, &number) || number != slot || colon == NULL)
        return false;
    struct bytes host = bytes_of(text.at, (size_t)(colon - text.at));
    if (!bytes_to_u64(bytes_skip(text, host.len + 1), UINT16_MAX, &port))
        return false;
    return host.len == 0 ? redis_node_same_host(out, from, port) : redis_node_set(out, host, port);
}

static bool follow(struct redis *r, struct redis_command *c, struct redis_node *n, bool asking) {
    if (c->done == NULL || c->redirects >= REDIS_REDIRECTS_MAX)
        return false;
    struct redis_link *to = redis_node_link(n, c->slot);
    c->redirects++;
    c->asking = asking;
    if (to == NULL)
        redis_command_fail(r, c);
    else
        redis_link_queue(to, c);
    return true;
}

bool redis_cluster_redirect(struct redis_link *l, struct redis_command *c, struct bytes error) {
    struct redis *r = l->redis;
    struct redis_node address = {.known = false};
    if (r->owners == NULL)
        return false;
    struct bytes rest = error, code = bytes_cut(&rest, ' ');
    bool moved = bytes_is(code, "MOVED"), ask = bytes_is(code, "ASK");
    if (moved || bytes_is(code, "CLUSTERDOWN"))
        refresh(r);
    if ((!moved && !ask) || !read_redirect(rest, l->node, c->slot, &address))
        return false;
    unsigned i = node_at(r, &address);
    if (i == NO_NODE)
        return false;
    if (moved)
        r->owners[c->slot] = (uint16_t)i;
    r->nodes[i]->redirected = clock_us();
    dial_idle(r->nodes[i]);
    return follow(r, c, r->nodes[i], ask);
}
