/* exchange_route.c - who asks, and for what: both are decided before the body is read. */
#include "base/clock.h"
#include "exchange.h"

/* The key's row, remembered from the connection's last request where it was the same. */
static const struct api_key *find_key(struct exchange *ex, struct bytes secret) {
    struct peer_name *peer = ex->front->peer;
    uint64_t now_s = clock_wall_us() / 1000000;
    struct hash128 mark = hash_bytes128(&ex->worker->marks, secret);
    if (peer->key_under == ex->config->serial && peer->key_mark.lo == mark.lo &&
        peer->key_mark.hi == mark.hi)
        return api_key_valid(peer->key, now_s) ? peer->key : NULL;
    const struct api_key *found = config_api_key(ex->config, secret, now_s);
    if (found != NULL) {
        peer->key_under = ex->config->serial;
        peer->key_mark = mark;
        peer->key = found;
    }
    return found;
}

static enum next unauthenticated(struct exchange *ex, const char *reason) {
    stats_count(ex->worker->stats, COUNT_unauthenticated);
    return exchange_refuse(ex, 401, reason);
}

enum next step_identify(struct exchange *ex) {
    const struct clients_conf *conf = &ex->config->clients;
    const struct message *m = &ex->front->head->message;
    struct bytes key = bytes_of(NULL, 0), address = front_pseudonym(ex->front->peer, ex->config);
    /* Until a key proves otherwise, and in the log of a refusal, the address is who asks. */
    ex->client = (struct client){.pseudonym = address, .key = address, .address = address};
    if (conf->by_api_key) {
        if (message_header(m, conf->key_header.at, &key)) {
            const struct api_key *found = key.len <= API_KEY_BYTES_MAX ? find_key(ex, key) : NULL;
            if (found == NULL)
                return unauthenticated(ex, "unknown API key");
            ex->client = found->client;
            ex->client.address = address;
            return NEXT_MORE;
        }
        /* A key that is there twice is no absent key. */
        if (message_has(m, conf->key_header.at))
            return unauthenticated(ex, "more than one API key");
    }
    if (!conf->by_address || !conf->anonymous)
        return unauthenticated(ex, "an API key is needed");
    return NEXT_MORE;
}

/* The protocol whose call this is, among those of the upstreams.  Answers NULL: nobody's. */
static const struct upstream_conf *match_call(struct exchange *ex) {
    const struct message *m = &ex->front->head->message;
    struct bytes method = ex->front->head->head_only ? BYTES_LITERAL("GET") : m->method;
    for (uint32_t i = 0; i < ex->config->upstream_count; i++) {
        const struct upstream_conf *u = &ex->config->upstreams[i];
        if (u->codec->match(method, m->path, &ex->call))
            return u;
    }
    return NULL;
}

static enum next refused_call(struct exchange *ex, unsigned status, const char *reason) {
    stats_count(ex->worker->stats, COUNT_refused_calls);
    return exchange_refuse(ex, status, reason);
}

enum next step_route(struct exchange *ex) {
    ex->upstream = match_call(ex);
    if (ex->upstream == NULL)
        return refused_call(ex, 404, "no such call");
    ex->codec = ex->upstream->codec;
    if (ex->call.kind == CALL_REFUSED)
        return refused_call(ex, 403, "this call is not let through");
    if (ex->call.model.len > 0) {
        ex->model = config_model(ex->config, ex->call.model);
        if (ex->model == NULL || ex->model->upstream->codec != ex->codec)
            return refused_call(ex, 404, "no such model");
        ex->upstream = ex->model->upstream;
        ex->declared = ex->model->declared;
        ex->policy = model_policy(ex->model, &ex->client);
        ex->declared.inputs_unread = !ex->policy->reads_inputs;
    }
    ex->asked = upstream_hold(ex->worker, ex->upstream);
    if (ex->asked == NULL)
        return exchange_refuse(ex, 503, "out of memory");
    return NEXT_PARK; /* Until the body is there. */
}
