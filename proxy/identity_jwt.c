/* identity_jwt.c - a bearer token signed by an issuer that the policy names. */
#include "identity.h"
#include "jwt.h"

static bool is_scheme_character(char c) {
    c = ascii_lower(c);
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* The token behind the word Bearer.  Another scheme is a credential of another kind: ABSENT. */
static enum identity_status behind_scheme(struct bytes value, struct bytes *out) {
    struct bytes scheme = {value.at, 0};
    while (scheme.len < value.len && is_scheme_character(value.at[scheme.len]))
        scheme.len++;
    if (!bytes_is_nocase(scheme, "Bearer"))
        return IDENTITY_ABSENT;
    *out = bytes_skip(value, scheme.len);
    if (out->len == 0 || out->at[0] != ' ')
        return IDENTITY_REFUSED;
    while (out->len > 0 && out->at[0] == ' ')
        *out = bytes_skip(*out, 1);
    return IDENTITY_PROVEN;
}

/* PROVEN: *out may be a token. */
static enum identity_status find_token(const struct identity_request *r, struct bytes *out,
                                       struct identity_refusal *why) {
    const struct jwt_conf *conf = r->config->clients.jwt;
    why->logged = "token: more than one";
    /* A token that is there twice is no absent token. */
    if (!message_header(r->message, conf->header.at, out))
        return message_has(r->message, conf->header.at) ? IDENTITY_REFUSED : IDENTITY_ABSENT;
    why->logged = "token: none behind Bearer";
    return conf->bearer ? behind_scheme(*out, out) : IDENTITY_PROVEN;
}

static enum identity_status name_client(const struct identity_request *r,
                                        const struct jwt_claims *claims, struct client *out) {
    char name[PSEUDONYM_MAX];
    config_pseudonym(r->config, "jwt", claims->subject, name);
    struct bytes pseudonym = arena_copy(r->arena, bytes_str(name));
    *out = (struct client){.pseudonym = pseudonym, .key = pseudonym, .tier = claims->tier};
    return pseudonym.at != NULL ? IDENTITY_PROVEN : IDENTITY_FAULT;
}

enum identity_status identity_jwt(const struct identity_request *r, struct client *out,
                                  struct identity_refusal *why) {
    struct jwt_claims claims = {.why = NULL};
    struct bytes token = {NULL, 0};
    *why = (struct identity_refusal){.said = "invalid token", .token = true};
    enum identity_status found = find_token(r, &token, why);
    if (found != IDENTITY_PROVEN)
        return found;
    if (identity_recall(r, BY_JWT, token, out))
        return IDENTITY_PROVEN;
    switch (jwt_check(r->config->clients.jwt, r->arena, token, r->now_s, &claims)) {
    case JWT_GOOD:
        found = name_client(r, &claims, out);
        break;
    case JWT_EXPIRED:
        why->said = "expired token";
        why->logged = claims.why;
        return IDENTITY_REFUSED;
    case JWT_NO_MEMORY:
        return IDENTITY_FAULT;
    default:
        why->logged = claims.why;
        return IDENTITY_REFUSED;
    }
    if (found == IDENTITY_PROVEN)
        identity_remember(r, BY_JWT, token, claims.not_before_s, claims.not_after_s, out);
    return found;
}
