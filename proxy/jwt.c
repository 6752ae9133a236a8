#include "jwt.h"

#include <jansson.h>
#include <math.h>

#include "base/limits.h"

/* A token cut at its dots. */
struct parts {
    struct bytes header, payload, signature; /* as they came */
    struct bytes signed_text;                /* header.payload */
};

static enum jwt_status invalid(struct jwt_claims *out, const char *why) {
    out->why = why;
    return JWT_INVALID;
}

/* ---- base64url ---- */

static int sextet(char c) {
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

struct bytes jwt_base64url(struct arena *arena, struct bytes text) {
    static const struct bytes none = {NULL, 0};
    char *out = text.len > 0 && text.len % 4 != 1 ? arena_alloc(arena, text.len / 4 * 3 + 3) : NULL;
    uint32_t bits = 0;
    size_t len = 0;
    unsigned have = 0;
    if (out == NULL)
        return none;
    for (size_t i = 0; i < text.len; i++) {
        int six = sextet(text.at[i]);
        if (six < 0)
            return none;
        bits = bits << 6 | (uint32_t)six;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[len++] = (char)(bits >> have & 0xff);
        }
    }
    /* Bits behind the last byte would be a second spelling of the same bytes. */
    return (bits & ((1u << have) - 1)) == 0 ? bytes_of(out, len) : none;
}

/* ---- JSON ---- */

/* jansson recurses with the depth of the text. */
static bool is_shallow(struct bytes text) {
    bool quoted = false;
    unsigned depth = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '{' || c == '[') && ++depth > JSON_DEPTH_MAX)
            return false;
        else if (!quoted && (c == '}' || c == ']') && depth > 0)
            depth--;
    }
    return true;
}

/* GOOD: *out is the object of a part; to be given back. */
static enum jwt_status read_object(struct arena *arena, struct bytes part, size_t max,
                                   json_t **out) {
    json_error_t error;
    *out = NULL;
    if (part.len / 4 * 3 > max)
        return JWT_INVALID;
    struct bytes text = jwt_base64url(arena, part);
    if (text.at == NULL || !is_shallow(text))
        return JWT_INVALID;
    *out = json_loadb(text.at, text.len, JSON_REJECT_DUPLICATES, &error);
    if (*out == NULL)
        return json_error_code(&error) == json_error_out_of_memory ? JWT_NO_MEMORY : JWT_INVALID;
    return json_is_object(*out) ? JWT_GOOD : JWT_INVALID;
}

static struct bytes text_of(const json_t *v) {
    return bytes_of(json_string_value(v), json_string_length(v));
}

/* ---- The header ---- */

static bool split(struct bytes token, struct parts *out) {
    struct bytes rest = token;
    if (token.len == 0 || token.len > JWT_BYTES_MAX)
        return false;
    out->header = bytes_cut(&rest, '.');
    out->payload = bytes_cut(&rest, '.');
    out->signature = rest;
    out->signed_text = bytes_of(token.at, out->header.len + 1 + out->payload.len);
    return out->header.len > 0 && out->payload.len > 0 && rest.len > 0 &&
           memchr(rest.at, '.', rest.len) == NULL;
}

/* A token made for another purpose (a logout, a proof of possession) says so in its type. */
static bool is_right_type(const json_t *header) {
    const json_t *typ = json_object_get(header, "typ");
    struct bytes text = text_of(typ);
    if (typ == NULL)
        return true;
    if (text.len > 12 && bytes_is_nocase(bytes_of(text.at, 12), "application/"))
        text = bytes_skip(text, 12);
    return bytes_is_nocase(text, "JWT") || bytes_is_nocase(text, "at+jwt");
}

static bool brings_what_we_refuse(const json_t *header) {
    static const char *const refused[] = {"crit", "b64", "jwk", "jku", "x5u", "x5c", NULL};
    for (const char *const *name = refused; *name != NULL; name++)
        if (json_object_get(header, *name) != NULL)
            return true;
    return false;
}

static bool algorithm_of(const struct jwt_conf *conf, const json_t *header,
                         enum sign_algorithm *out) {
    struct bytes alg = text_of(json_object_get(header, "alg"));
    for (int i = 0; i < SIGN_COUNT; i++)
        if (conf->algorithms[i] && bytes_is(alg, sign_names[i])) {
            *out = (enum sign_algorithm)i;
            return true;
        }
    return false;
}

/* Against the key that the token names and no other; if it names none, against those of its
 * algorithm.  NULL: it holds. */
static const char *check_keys(const struct jwt_conf *conf, enum sign_algorithm algorithm,
                              const json_t *kid, const struct parts *parts,
                              struct bytes signature) {
    unsigned tries = 0;
    for (uint32_t i = 0; i < conf->key_count && tries < JWT_TRIES_MAX; i++) {
        const struct jwk *k = &conf->keys[i];
        if (k->algorithm != algorithm || (kid != NULL && !bytes_eq(k->kid, text_of(kid))))
            continue;
        if (sign_verify(k->key, parts->signed_text, signature))
            return NULL;
        tries++;
    }
    return tries > 0 ? "token: wrong signature" : "token: no such key";
}

/* NULL: the token is signed by a key of ours. */
static const char *check_header(const struct jwt_conf *conf, const json_t *header,
                                const struct parts *parts, struct bytes signature) {
    enum sign_algorithm algorithm;
    const json_t *kid = json_object_get(header, "kid");
    if (kid != NULL && json_string_length(kid) == 0)
        return "token: kid is no text";
    if (!is_right_type(header))
        return "token: of another type";
    if (brings_what_we_refuse(header))
        return "token: brings a key or an extension";
    if (!algorithm_of(conf, header, &algorithm))
        return "token: algorithm not taken";
    return check_keys(conf, algorithm, kid, parts, signature);
}

static enum jwt_status check_signature(const struct jwt_conf *conf, struct arena *arena,
                                       const struct parts *parts, struct jwt_claims *out) {
    json_t *header;
    enum jwt_status s = read_object(arena, parts->header, JWT_HEADER_MAX, &header);
    struct bytes signature = jwt_base64url(arena, parts->signature);
    if (signature.at == NULL || s == JWT_INVALID)
        s = invalid(out, "token: malformed");
    if (s == JWT_GOOD && (out->why = check_header(conf, header, parts, signature)) != NULL)
        s = JWT_INVALID;
    json_decref(header);
    return s;
}

/* ---- The claims ---- */

/* A NumericDate, as the whole seconds at and behind it. */
struct date {
    bool given;
    uint64_t low, high;
};

/* False: the claim is there and no date that we can reckon with. */
static bool read_date(const json_t *claims, const char *name, struct date *out) {
    const json_t *v = json_object_get(claims, name);
    *out = (struct date){.given = v != NULL};
    if (v == NULL)
        return true;
    if (!json_is_number(v))
        return false;
    double seconds = json_number_value(v);
    if (!(seconds >= 0 && seconds <= (double)JWT_DATE_MAX))
        return false;
    out->low = (uint64_t)floor(seconds);
    out->high = (uint64_t)ceil(seconds);
    return true;
}

static uint64_t less(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}

/* Every check that is not about its end comes before those that are: that a token is expired is
 * told to its owner only. */
static enum jwt_status check_dates(const struct jwt_conf *conf, const json_t *claims,
                                   uint64_t now_s, struct jwt_claims *out) {
    struct date exp, nbf, iat;
    if (!read_date(claims, "exp", &exp) || !read_date(claims, "nbf", &nbf) ||
        !read_date(claims, "iat", &iat) || !exp.given || (conf->max_age_s > 0 && !iat.given))
        return invalid(out, "token: a date is missing or is none");
    uint64_t from = nbf.high > iat.high ? nbf.high : iat.high;
    uint64_t end = exp.low + conf->leeway_s; /* the first second that is too late */
    uint64_t old = iat.low + conf->max_age_s + conf->leeway_s + 1;
    if (conf->max_age_s > 0 && old < end)
        end = old;
    out->not_before_s = less(from, conf->leeway_s);
    out->not_after_s = less(end, 1);
    if (now_s < out->not_before_s)
        return invalid(out, "token: not yet good");
    out->why = now_s < end ? NULL : "token: expired";
    return now_s < end ? JWT_GOOD : JWT_EXPIRED;
}

/* claim is the text, or a list of texts, among which it is. */
static bool is_or_holds(const json_t *claim, struct bytes text) {
    for (size_t i = 0; i < json_array_size(claim); i++)
        if (bytes_eq(text_of(json_array_get(claim, i)), text))
            return true;
    return json_is_string(claim) && bytes_eq(text_of(claim), text);
}

static bool is_text_or_list(const json_t *claim) {
    if (json_is_string(claim))
        return true;
    if (!json_is_array(claim) || json_array_size(claim) > JWT_CLAIM_LIST_MAX)
        return false;
    for (size_t i = 0; i < json_array_size(claim); i++)
        if (!json_is_string(json_array_get(claim, i)))
            return false;
    return true;
}

static bool is_subject(struct bytes id) {
    for (size_t i = 0; i < id.len; i++)
        if ((unsigned char)id.at[i] < 0x20 || id.at[i] == 0x7f)
            return false;
    return id.len > 0 && id.len <= CLIENT_ID_MAX;
}

/* False: the claim that chooses the tier is there and is neither a text nor a list of texts. */
static bool choose_tier(const struct jwt_conf *conf, const json_t *claims, struct bytes *out) {
    *out = bytes_of(NULL, 0);
    if (conf->tier_claim.len == 0)
        return true;
    const json_t *v = json_object_getn(claims, conf->tier_claim.at, conf->tier_claim.len);
    if (v == NULL)
        return true;
    if (!is_text_or_list(v))
        return false;
    for (uint32_t i = 0; i < conf->tier_count && out->len == 0; i++)
        if (is_or_holds(v, conf->tiers[i].value))
            *out = conf->tiers[i].tier;
    return true;
}

static enum jwt_status check_claims(const struct jwt_conf *conf, struct arena *arena,
                                    const json_t *claims, uint64_t now_s, struct jwt_claims *out) {
    const json_t *iss = json_object_get(claims, "iss"), *aud = json_object_get(claims, "aud");
    struct bytes subject = text_of(json_object_getn(claims, conf->subject.at, conf->subject.len));
    if (!json_is_string(iss) || !bytes_eq(text_of(iss), conf->issuer))
        return invalid(out, "token: wrong issuer");
    if (!is_text_or_list(aud) || !is_or_holds(aud, conf->audience))
        return invalid(out, "token: wrong audience");
    if (!is_subject(subject))
        return invalid(out, "token: names no client");
    if (!choose_tier(conf, claims, &out->tier))
        return invalid(out, "token: the tier is no text");
    if (json_object_get(claims, "cnf") != NULL)
        return invalid(out, "token: bound to a key");
    enum jwt_status s = check_dates(conf, claims, now_s, out);
    if (s == JWT_GOOD && (out->subject = arena_copy(arena, subject)).at == NULL)
        s = JWT_NO_MEMORY;
    return s;
}

enum jwt_status jwt_check(const struct jwt_conf *conf, struct arena *arena, struct bytes token,
                          uint64_t now_s, struct jwt_claims *out) {
    struct parts parts;
    json_t *claims = NULL;
    out->why = NULL;
    if (!split(token, &parts))
        return invalid(out, "token: malformed");
    enum jwt_status s = check_signature(conf, arena, &parts, out);
    /* Nothing of the claims is read before the signature holds. */
    if (s == JWT_GOOD)
        s = read_object(arena, parts.payload, JWT_BYTES_MAX, &claims);
    if (s == JWT_INVALID && out->why == NULL)
        out->why = "token: malformed";
    if (s == JWT_GOOD)
        s = check_claims(conf, arena, claims, now_s, out);
    json_decref(claims);
    return s;
}
