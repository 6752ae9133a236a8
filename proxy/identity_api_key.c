/* identity_api_key.c - a secret in a header, known by its hash. */
#include "identity.h"

enum identity_status identity_api_key(const struct identity_request *r, struct client *out,
                                      struct identity_refusal *why) {
    const char *header = r->config->clients.key_header.at;
    struct bytes secret;
    if (!message_header(r->message, header, &secret)) {
        /* A key that is there twice is no absent key. */
        *why = (struct identity_refusal){.said = "more than one API key",
                                         .logged = "key: more than one"};
        return message_has(r->message, header) ? IDENTITY_REFUSED : IDENTITY_ABSENT;
    }
    if (identity_recall(r, BY_API_KEY, secret, out))
        return IDENTITY_PROVEN;
    const struct api_key *key = config_api_key(r->config, secret, r->now_s);
    if (key == NULL) {
        bool ended = config_api_key(r->config, secret, 0) != NULL;
        *why = (struct identity_refusal){.said = "unknown API key",
                                         .logged = ended ? "key: ended" : "key: unknown"};
        return IDENTITY_REFUSED;
    }
    *out = key->client;
    identity_remember(r, BY_API_KEY, secret, 0,
                      key->not_after_s > 0 ? key->not_after_s : UINT64_MAX, out);
    return IDENTITY_PROVEN;
}
