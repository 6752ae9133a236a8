#include "identity.h"

#include "base/require.h"
#include "front.h"

const struct identity_method identity_methods[BY_COUNT] = {
    [BY_MTLS] = {"mtls", identity_mtls, "a client certificate"},
    [BY_JWT] = {"jwt", identity_jwt, "a bearer token"},
    [BY_API_KEY] = {"api_key", identity_api_key, "an API key"},
    [BY_ADDRESS] = {"address", identity_address, "an address"},
};

enum identity_status identity_establish(const struct identity_request *r, struct client *out,
                                        struct identity_refusal *why) {
    const struct clients_conf *conf = &r->config->clients;
    for (uint32_t i = 0; i < conf->order_count; i++) {
        enum identity_status s = identity_methods[conf->order[i]].prove(r, out, why);
        if (s != IDENTITY_ABSENT)
            return s;
    }
    *why = (struct identity_refusal){.said = conf->wanted.at, .logged = conf->wanted.at};
    return IDENTITY_REFUSED;
}

bool identity_recall(const struct identity_request *r, enum identify_by by, struct bytes credential,
                     struct client *out) {
    const struct credential_memo *memo = &r->peer->memo;
    if (memo->under != r->config->serial || memo->kind != by || r->now_s < memo->not_before_s ||
        r->now_s > memo->not_after_s)
        return false;
    struct hash128 mark = hash_bytes128(r->marks, credential);
    if (mark.lo != memo->mark.lo || mark.hi != memo->mark.hi)
        return false;
    *out = memo->client;
    return true;
}

void identity_remember(const struct identity_request *r, enum identify_by by,
                       struct bytes credential, uint64_t not_before_s, uint64_t not_after_s,
                       const struct client *who) {
    struct credential_memo *memo = &r->peer->memo;
    require(who->pseudonym.len < sizeof(memo->pseudonym));
    *memo = (struct credential_memo){.under = r->config->serial,
                                     .kind = by,
                                     .mark = hash_bytes128(r->marks, credential),
                                     .not_before_s = not_before_s,
                                     .not_after_s = not_after_s,
                                     .client.tier = who->tier};
    memcpy(memo->pseudonym, who->pseudonym.at, who->pseudonym.len);
    memo->client.pseudonym = bytes_of(memo->pseudonym, who->pseudonym.len);
    memo->client.key = memo->client.pseudonym;
}
