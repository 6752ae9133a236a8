/* redis_sentinel.c - who is the master: Sentinels are asked in turn, at the start, whenever a link
 * to the master is lost, and every REDIS_SENTINEL_PAUSE, because a master that was replaced may
 * live on and take writes for many seconds (10 after an ordered failover, for ever behind a
 * partition).
 *
 * What they say counts when that server's ROLE agrees.  A Sentinel that missed a failover is known
 * by its smaller configuration epoch; what it says is used only while there is no master at all. */
#include "redis_private.h"

/* The value behind `name` in a list of names and values. */
static struct bytes field(const struct redis_reply *reply, const char *name) {
    for (uint32_t i = 0; i + 1 < reply->count; i += 2) {
        const struct redis_value *v = &reply->values[i];
        if (v[0].type != REDIS_TEXT || v[1].type != REDIS_TEXT)
            break;
        if (bytes_is(v[0].text, name))
            return v[1].text;
    }
    return bytes_of(NULL, 0);
}

const char *redis_sentinel_hear(struct redis_link *l, const struct redis_reply *reply) {
    struct redis *r = l->redis;
    uint64_t port;
    if (!reply->array || !bytes_to_u64(field(reply, "port"), UINT16_MAX, &port) ||
        !bytes_to_u64(field(reply, "config-epoch"), UINT64_MAX, &r->found_epoch))
        return "it tells of the master in a form that is not known";
    if (!redis_node_set(&r->found, field(reply, "ip"), port))
        return "it names the master by a host name: set `sentinel announce-hostnames no`";
    return redis_ready(r) && r->found_epoch < r->epoch ? "it has missed a failover" : NULL;
}

void redis_sentinel_dial(struct redis_link *l) {
    struct redis *r = l->redis;
    const struct store_conf *conf = r->conf;
    r->resting = false;
    redis_node_configured(&r->peer, &conf->servers[r->cursor % conf->server_count].address);
    redis_link_dial(l, &r->peer);
}

/* The next one; the pause grows only when all were asked. */
void redis_sentinel_lost(struct redis_link *l) {
    struct redis *r = l->redis;
    if (++r->cursor % r->conf->server_count != 0 && l->attempts > 0)
        l->attempts--;
    redis_link_retry(l);
}

void redis_sentinel_ready(struct redis_link *l) {
    struct redis *r = l->redis;
    struct redis_node *n = r->nodes[0];
    bool moved = !n->known || !redis_node_is(n, &r->found);
    redis_link_hang_up(l);
    if (moved)
        for (unsigned i = 0; i < REDIS_CONNECTIONS; i++)
            redis_link_hang_up(n->links[i]);
    redis_node_copy(n, &r->found);
    r->epoch = r->found_epoch;
    r->resting = true;
    redis_link_after(l, REDIS_SENTINEL_PAUSE);
    for (unsigned i = 0; i < REDIS_CONNECTIONS; i++)
        if (n->links[i]->state == LINK_IDLE)
            redis_link_dial(n->links[i], n);
}

void redis_master_ready(struct redis_link *l) {
    l->redis->asker->attempts = 0;
    redis_say_found(l->redis, l->node);
}

/* This Sentinel may be the one that does not know of the new master: the next one is asked. */
void redis_master_lost(struct redis_link *l) {
    struct redis *r = l->redis;
    if (!r->resting)
        return; /* They are being asked. */
    r->resting = false;
    r->cursor++;
    redis_link_retry(r->asker);
}
