#include "oip.h"

/* The REST calls of the Open Inference Protocol and its extensions.  {m} is a model, {v} a version,
 * ** any rest.  First match wins, so the one way in stands first and what is refused stands before
 * what its path could also be read as ("/v2/models/stats").  What is not here is unknown. */
static const struct route {
    const char *method; /* NULL: any */
    const char *path;
    enum call_kind kind;
} routes[] = {
    {"POST", "/v2/models/{m}/infer", CALL_INFER},
    {"POST", "/v2/models/{m}/versions/{v}/infer", CALL_INFER},
    {NULL, "/v2/models/stats", CALL_REFUSED},
    {"GET", "/v2/health/live", CALL_LIVE},
    {"GET", "/v2/health/ready", CALL_READY},
    {"GET", "/v2/models/{m}/ready", CALL_MODEL_READY},
    {"GET", "/v2/models/{m}/versions/{v}/ready", CALL_MODEL_READY},
    {"GET", "/v2/models/{m}", CALL_MODEL_METADATA},
    {"GET", "/v2/models/{m}/versions/{v}", CALL_MODEL_METADATA},
    {"GET", "/v2", CALL_SERVER_METADATA},
    {"GET", "/v2/", CALL_SERVER_METADATA},
    {NULL, "/v2", CALL_REFUSED},
    {NULL, "/v2/", CALL_REFUSED},
    {NULL, "/v2/health/live", CALL_REFUSED},
    {NULL, "/v2/health/ready", CALL_REFUSED},
    {NULL, "/v2/models", CALL_REFUSED},
    {NULL, "/v2/models/{m}", CALL_REFUSED},
    {NULL, "/v2/models/{m}/ready", CALL_REFUSED},
    {NULL, "/v2/models/{m}/infer", CALL_REFUSED},
    {NULL, "/v2/models/{m}/infer_stream", CALL_REFUSED},
    {NULL, "/v2/models/{m}/generate", CALL_REFUSED},
    {NULL, "/v2/models/{m}/generate_stream", CALL_REFUSED},
    {NULL, "/v2/models/{m}/explain", CALL_REFUSED},
    {NULL, "/v2/models/{m}/config", CALL_REFUSED},
    {NULL, "/v2/models/{m}/stats", CALL_REFUSED},
    {NULL, "/v2/models/{m}/trace/setting", CALL_REFUSED},
    {NULL, "/v2/models/{m}/docs/**", CALL_REFUSED},
    {NULL, "/v2/models/{m}/docs", CALL_REFUSED},
    {NULL, "/v2/models/{m}/load", CALL_REFUSED},
    {NULL, "/v2/models/{m}/unload", CALL_REFUSED},
    {NULL, "/v2/models/{m}/versions/{v}", CALL_REFUSED},
    {NULL, "/v2/models/{m}/versions/{v}/**", CALL_REFUSED},
    {NULL, "/v2/repository/**", CALL_REFUSED},
    {NULL, "/v2/systemsharedmemory/**", CALL_REFUSED},
    {NULL, "/v2/cudasharedmemory/**", CALL_REFUSED},
    {NULL, "/v2/trace/**", CALL_REFUSED},
    {NULL, "/v2/logging", CALL_REFUSED},
    {NULL, "/v2/docs", CALL_REFUSED},
    {NULL, "/v2/docs/**", CALL_REFUSED},
    {NULL, "/docs", CALL_REFUSED},
    {NULL, "/openapi.json", CALL_REFUSED},
    {NULL, "/metrics", CALL_REFUSED},
};

#define ROUTE_COUNT (sizeof(routes) / sizeof(routes[0]))

/* Letters, digits, '.', '_', '-': what needs no escape in a path, and no more. */
static bool is_model_name(struct bytes s) {
    if (s.len == 0 || s.len > MODEL_NAME_MAX || bytes_is(s, ".") || bytes_is(s, ".."))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = ascii_lower(s.at[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-'))
            return false;
    }
    return true;
}

/* One segment of a path against one of a pattern.  *exact goes false where only the case differs.
 */
static bool segment_fits(struct bytes pattern, struct bytes segment, struct call *call,
                         bool *exact) {
    if (bytes_is(pattern, "{m}")) {
        call->model = segment;
        return is_model_name(segment);
    }
    if (bytes_is(pattern, "{v}")) {
        call->version = segment;
        return is_model_name(segment);
    }
    if (segment.len != pattern.len)
        return false;
    for (size_t i = 0; i < pattern.len; i++) {
        if (pattern.at[i] == segment.at[i])
            continue;
        if (pattern.at[i] != ascii_lower(segment.at[i]))
            return false;
        *exact = false;
    }
    return true;
}

static bool path_fits(const char *pattern, struct bytes path, struct call *call, bool *exact) {
    struct bytes left = bytes_str(pattern);
    *exact = true;
    while (left.at != NULL && path.at != NULL) {
        struct bytes want = bytes_cut(&left, '/');
        if (bytes_is(want, "**"))
            return true;
        if (!segment_fits(want, bytes_cut(&path, '/'), call, exact))
            return false;
    }
    return left.at == NULL && path.at == NULL;
}

static bool match(struct bytes method, struct bytes path, struct call *out) {
    if (bytes_is(method, "HEAD"))
        method = BYTES_LITERAL("GET");
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        const struct route *route = &routes[i];
        struct call call = {.kind = route->kind};
        bool exact;
        if (route->method != NULL && !bytes_is(method, route->method))
            continue;
        if (!path_fits(route->path, path, &call, &exact))
            continue;
        /* A server that matches case-insensitively would serve it; we forward one spelling only. */
        if (!exact)
            call.kind = CALL_REFUSED;
        *out = call;
        return true;
    }
    return false;
}

static enum codec_status encode_call(struct arena *a, const struct call *call,
                                     struct outgoing *out) {
    *out = (struct outgoing){0};
    switch (call->kind) {
    case CALL_LIVE:
        out->path = BYTES_LITERAL("/v2/health/live");
        return CODEC_OK;
    case CALL_READY:
        out->path = BYTES_LITERAL("/v2/health/ready");
        return CODEC_OK;
    case CALL_SERVER_METADATA:
        out->path = BYTES_LITERAL("/v2");
        return CODEC_OK;
    case CALL_MODEL_METADATA:
    case CALL_MODEL_READY:
        out->path = arena_printf(a, "/v2/models/%.*s%s%.*s%s", (int)call->model.len, call->model.at,
                                 call->version.len > 0 ? "/versions/" : "", (int)call->version.len,
                                 call->version.len > 0 ? call->version.at : "",
                                 call->kind == CALL_MODEL_READY ? "/ready" : "");
        return out->path.at != NULL ? CODEC_OK : CODEC_NO_MEMORY;
    case CALL_REFUSED:
    case CALL_INFER:
        break;
    }
    return CODEC_UNSUPPORTED;
}

static enum codec_status encode_denial(struct arena *a, unsigned status, struct bytes reason,
                                       struct outgoing *out) {
    struct codec_error unused;
    struct oip_writer w;
    (void)status;
    oip_writer_init(&w, a);
    buf_add_char(&w.json, '{');
    oip_key_string(&w, "error", reason);
    buf_add_char(&w.json, '}');
    return oip_finish(&w, CODEC_OK, out, &unused);
}

const struct codec codec_open_inference = {
    .name = "open-inference",
    .match = match,
    .decode_query = oip_decode_query,
    .encode_query = oip_encode_query,
    .decode_answer = oip_decode_answer,
    .encode_answer = oip_encode_answer,
    .encode_call = encode_call,
    .filter_answer = oip_filter_answer,
    .encode_denial = encode_denial,
};
