/* exchange_route.c - who asks, and for what: both are decided before the body is read. */
#include "base/clock.h"
#include "exchange.h"
#include "identity.h"

/* The client is told the class, the log which check failed. */
static enum next unauthenticated(struct exchange *ex, const struct identity_refusal *why) {
    stats_count(ex->worker->stats, COUNT_unauthenticated);
    ex->bad_token = why->token;
    enum next n = exchange_refuse(ex, 401, why->said);
    ex->log_reason = why->logged;
    return n;
}

enum next step_identify(struct exchange *ex) {
    struct bytes address =
        identity_client_address(ex->front->peer, ex->config, &ex->front->head->message);
    struct identity_request r = {.config = ex->config,
                                 .message = &ex->front->head->message,
                                 .peer = ex->front->peer,
                                 .address = address,
                                 .marks = &ex->worker->marks,
                                 .arena = ex->arena,
                                 .now_s = clock_wall_us() / SECONDS(1)};
    struct identity_refusal why = {.said = NULL};
    /* Until a credential proves otherwise, and in the log of a refusal, the address is who asks. */
    ex->client = (struct client){.pseudonym = address, .key = address, .address = address};
    ex->hang_up = !identity_certificate(&r, &why);
    if (ex->hang_up)
        return unauthenticated(ex, &why);
    switch (identity_establish(&r, &ex->client, &why)) {
    case IDENTITY_PROVEN:
        ex->client.address = address;
        return NEXT_MORE;
    case IDENTITY_FAULT:
        return exchange_refuse(ex, 503, "out of memory");
    default:
        return unauthenticated(ex, &why);
    }
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
