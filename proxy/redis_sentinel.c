/* redis_sentinel.c - who is the master: Sentinels are asked in turn, at the start and whenever a
 * link to the master is lost, and what they say counts when that server's ROLE agrees. */
#include "redis_private.h"

const char *redis_sentinel_hear(struct redis_link *l, const struct redis_reply *reply) {
    const struct redis_value *v = reply->values;
    uint64_t port;
    if (!reply->array || reply->count != 2 || v[0].type != REDIS_TEXT || v[1].type != REDIS_TEXT ||
        !bytes_to_u64(v[1].text, UINT16_MAX, &port))
        return "it knows no master of the store's name";
    if (!redis_node_set(&l->redis->found, v[0].text, port))
        return "it names the master by a host name: set `sentinel announce-hostnames no`";
    return NULL;
}

void redis_sentinel_dial(struct redis_link *l) {
    struct redis *r = l->redis;
    const struct store_conf *conf = r->conf;
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
    if (r->asker->state != LINK_IDLE)
        return;
    r->cursor++;
    redis_link_retry(r->asker);
}
