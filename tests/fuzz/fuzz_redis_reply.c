/* What a Redis server says.  Whatever the bytes: how they are cut changes nothing, a reply is
 * within its limits, arrays hold what they say, and after the first bytes that are no reply comes
 * none. */
#include <stdlib.h>

#include "../../proxy/base/hash.h"
#include "../../proxy/redis_resp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct resp_limits shapes[] = {{.depth = 1, .items = 65, .bytes = 256},
                                            {.depth = 4, .items = 500, .bytes = 4096}};
static const struct hash_key key = {1, 2};

static void check(bool holds) {
    if (!holds)
        abort();
}

struct seen {
    enum resp_status last;
    uint64_t replies, digest;
};

static void mix(struct seen *s, const void *at, size_t len) {
    s->digest = s->digest * 0x9e3779b97f4a7c15u + hash_bytes(&key, bytes_of(at, len));
}

static void take(struct seen *s, const struct redis_reply *reply, const struct resp_limits *l) {
    uint64_t texts = 0, expected = reply->array ? 0 : 1;
    check(reply->count <= l->items);
    for (uint32_t i = 0; i < reply->count; i++) {
        const struct redis_value *v = &reply->values[i];
        check(v->type <= REDIS_ARRAY && (v->type != REDIS_ARRAY || reply->array));
        if (v->type == REDIS_ARRAY)
            check(v->integer >= 0 && v->integer < reply->count - i);
        mix(s, &v->type, sizeof(v->type));
        mix(s, &v->integer, sizeof(v->integer));
        if (v->type == REDIS_TEXT) {
            mix(s, v->text.at, v->text.len);
            texts += v->text.len;
        }
    }
    check(texts <= l->bytes);
    check(reply->array || reply->count == expected);
    s->replies++;
}

static struct seen play(struct bytes data, size_t first, size_t step, const struct resp_limits *l) {
    struct resp *r = resp_new();
    struct seen s = {.last = RESP_MORE};
    check(r != NULL);
    for (size_t at = 0, n = first; at < data.len && s.last != RESP_BROKEN; at += n, n = step) {
        struct redis_reply reply;
        if (n > data.len - at)
            n = data.len - at;
        check(resp_feed(r, bytes_of(data.at + at, n)));
        while ((s.last = resp_next(r, l, &reply)) == RESP_REPLY || s.last == RESP_ERROR) {
            check(s.last != RESP_ERROR || (!reply.array && reply.values[0].type == REDIS_TEXT));
            take(&s, &reply, l);
        }
    }
    resp_free(r);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 4 || size > 1 << 16)
        return 0;
    const struct resp_limits *l = &shapes[data[0] & 1];
    struct bytes text = bytes_of(data + 3, size - 3);
    struct seen whole = play(text, text.len, 1, l);
    struct seen cut = play(text, (size_t)data[1] + 1, (size_t)data[2] + 1, l);
    check(whole.last == cut.last && whole.replies == cut.replies && whole.digest == cut.digest);
    return 0;
}
