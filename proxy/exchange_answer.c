/* exchange_answer.c - from the upstream's answer to the client's, and every refusal on the way. */
#include "base/clock.h"
#include "base/require.h"
#include "exchange.h"
#include "inflate.h"
#include "jwt.h"

/* Sets how the exchange ends and goes to the reply.  The first reason stands. */
enum next exchange_refuse(struct exchange *ex, unsigned status, const char *reason) {
    if (ex->status == 0) {
        ex->status = status;
        ex->log_reason = reason;
        ex->reason = bytes_str(reason);
    }
    exchange_goto_reply(ex);
    return NEXT_MORE;
}

enum next exchange_refuse_codec(struct exchange *ex, enum codec_status s,
                                const struct codec_error *error, bool answer) {
    static const unsigned query_status[] = {[CODEC_BAD] = 400,
                                            [CODEC_TOO_BIG] = 413,
                                            [CODEC_UNSUPPORTED] = 403,
                                            [CODEC_NO_MEMORY] = 503};
    static const char *const query_reason[] = {[CODEC_BAD] = "malformed query",
                                               [CODEC_TOO_BIG] = "query over a limit",
                                               [CODEC_UNSUPPORTED] =
                                                   "query asks for what is not let through",
                                               [CODEC_NO_MEMORY] = "out of memory"};
    if (answer) {
        stats_count(ex->worker->stats, COUNT_bad_answers);
        return exchange_refuse(ex, s == CODEC_NO_MEMORY ? 503 : 502,
                               "the model server's answer could not be understood");
    }
    stats_count(ex->worker->stats, COUNT_bad_queries);
    exchange_refuse(ex, query_status[s], query_reason[s]);
    /* The place is for the client, who sent it; the log gets the kind only. */
    if (s != CODEC_NO_MEMORY && error->text[0] != '\0') {
        struct bytes text = arena_copy(ex->arena, bytes_str(error->text));
        if (text.at != NULL)
            ex->reason = text;
    }
    return NEXT_MORE;
}

/* An upstream's error is an oracle (exception texts, echoes): only its class is told. */
static enum next upstream_refused(struct exchange *ex) {
    unsigned status = ex->answer_head->message.status;
    if (status == 404)
        return exchange_refuse(ex, 404, "the model server does not know this model or version");
    if (status == 503 || status == 429) {
        ex->retry_after_ms = 1000;
        return exchange_refuse(ex, 503, "the model server is not ready");
    }
    if (status >= 400 && status < 500)
        return exchange_refuse(ex, 400, "the model server refused the query");
    return exchange_refuse(ex, 502, "the model server failed");
}

static bool decode_content(struct exchange *ex, struct message *in) {
    struct bytes coding;
    bool coded = false;
    if (!message_header(in, "Content-Encoding", &coding))
        return !message_has(in, "Content-Encoding");
    if (inflate_body(coding, in->body, &ex->inflated_answer, &coded) != INFLATE_OK)
        return false;
    if (coded)
        in->body = buf_bytes(&ex->inflated_answer);
    return true;
}

/* The typed answer, through the filters, and into the client's form. */
static enum next shape_predictions(struct exchange *ex, const struct message *in) {
    struct codec_error error = {""};
    enum codec_status s = ex->codec->decode_answer(ex->arena, in, &ex->query, &ex->declared,
                                                   &ex->predictions, &error);
    if (s != CODEC_OK)
        return exchange_refuse_codec(ex, s, &error, true);
    struct verdict v = chain_answer(&ex->chain, ex->worker->stats, &ex->predictions);
    if (v.kind != VERDICT_PASS) {
        ex->filter = ex->chain.refused_by;
        ex->retry_after_ms = v.retry_after_ms;
        return exchange_refuse(ex, v.status, v.reason);
    }
    ex->out = (struct outgoing){.body_len = 0};
    s = ex->codec->encode_answer(ex->arena, &ex->query, &ex->predictions, &ex->declared, &ex->out,
                                 &error);
    return s == CODEC_OK ? NEXT_MORE : exchange_refuse_codec(ex, s, &error, true);
}

enum next step_shape(struct exchange *ex) {
    struct codec_error error = {""};
    if (ex->answer_head == NULL)
        return NEXT_MORE;
    if (ex->answer_head->message.status != 200)
        return upstream_refused(ex);
    struct message in = ex->answer_head->message;
    in.body = ex->answer_body;
    if (!decode_content(ex, &in))
        return exchange_refuse_codec(ex, CODEC_BAD, &error, true);
    if (ex->call.kind == CALL_INFER && !ex->policy->relay) {
        enum next n = shape_predictions(ex, &in);
        if (ex->status == 0)
            ex->status = 200;
        return n;
    }
    enum codec_status s = CODEC_OK;
    if (ex->call.kind == CALL_INFER) {
        s = exchange_relay(ex->arena, &in, &ex->out);
    } else {
        ex->out = (struct outgoing){.body_len = 0};
        s = ex->codec->filter_answer(ex->arena, &ex->call, &in, &ex->declared, &ex->out, &error);
    }
    if (s != CODEC_OK)
        return exchange_refuse_codec(ex, s, &error, true);
    ex->status = 200;
    return NEXT_MORE;
}

/* The ways to prove oneself by a header, in the policy's order. */
static uint32_t challenges(struct exchange *ex, struct header out[BY_COUNT]) {
    const struct clients_conf *conf = &ex->config->clients;
    struct bytes name = conf->key_header;
    uint32_t count = 0;
    for (uint32_t i = 0; i < conf->order_count; i++) {
        struct bytes value = {NULL, 0};
        if (conf->order[i] == BY_API_KEY)
            value = arena_printf(ex->arena, "ApiKey header=\"%.*s\"", (int)name.len, name.at);
        else if (conf->order[i] == BY_JWT && conf->jwt->bearer)
            value = bytes_str(ex->bad_token ? "Bearer error=\"invalid_token\"" : "Bearer");
        if (value.at != NULL)
            out[count++] = (struct header){BYTES_LITERAL("WWW-Authenticate"), value};
    }
    return count;
}

static void denial(struct exchange *ex, struct reply *r, struct header challenge[BY_COUNT]) {
    ex->out = (struct outgoing){.body_len = 0};
    if (ex->codec->encode_denial(ex->arena, ex->status, ex->reason, &ex->out) != CODEC_OK)
        ex->out = (struct outgoing){.body_len = 0};
    r->retry_after_s = ex->retry_after_ms > 0 ? (ex->retry_after_ms + 999) / 1000 : 0;
    if (ex->status == 401 && ex->out.header_count == 0) {
        ex->out.headers = challenge;
        ex->out.header_count = challenges(ex, challenge);
    }
}

/* After front_reply nothing of the exchange may be touched: it may be gone. */
enum next step_reply(struct exchange *ex) {
    struct reply r = {.status = ex->status};
    struct header challenge[BY_COUNT];
    require(ex->status != 0);
    timer_stop(&ex->deadline);
    if (ex->log_reason != NULL)
        denial(ex, &r, challenge);
    r.content_type = ex->out.content_type;
    r.headers = ex->out.headers;
    r.header_count = ex->out.header_count;
    r.pieces = ex->out.pieces;
    r.piece_count = ex->out.piece_count;
    r.body_len = ex->out.body_len;
    r.close = ex->status == 408 || ex->hang_up;
    front_reply(ex->front, &r);
    return NEXT_DONE;
}
