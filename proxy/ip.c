#include "ip.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "peers.h"

enum { MAPPED_BITS = 96 }; /* the prefix of IPv4 in IPv6 */

static void map(struct ip *out, const struct in_addr *four) {
    *out = (struct ip){.at = {[10] = 0xff, [11] = 0xff}};
    memcpy(out->at + 12, four, 4);
}

bool ip_of(const struct sockaddr *address, struct ip *out) {
    if (address->sa_family == AF_INET)
        map(out, &((const struct sockaddr_in *)address)->sin_addr);
    else if (address->sa_family == AF_INET6)
        memcpy(out->at, &((const struct sockaddr_in6 *)address)->sin6_addr, sizeof(out->at));
    else
        return false;
    return true;
}

static bool parse(struct bytes text, struct ip *out, bool *four) {
    char copy[INET6_ADDRSTRLEN];
    struct in_addr a;
    if (text.len == 0 || text.len >= sizeof(copy) || memchr(text.at, '\0', text.len) != NULL)
        return false;
    memcpy(copy, text.at, text.len);
    copy[text.len] = '\0';
    *four = inet_pton(AF_INET, copy, &a) == 1;
    if (*four)
        map(out, &a);
    return *four || inet_pton(AF_INET6, copy, out->at) == 1;
}

bool ip_parse(struct bytes text, struct ip *out) {
    bool four;
    return parse(text, out, &four);
}

bool ip_in(const struct ip *a, const struct ip_net *net) {
    unsigned bytes = net->bits / 8, rest = net->bits % 8;
    unsigned char mask = (unsigned char)(0xff00u >> rest);
    return memcmp(a->at, net->base.at, bytes) == 0 &&
           (rest == 0 || ((a->at[bytes] ^ net->base.at[bytes]) & mask) == 0);
}

static bool is_aligned(const struct ip_net *net) {
    for (unsigned bit = net->bits; bit < 128; bit++)
        if (net->base.at[bit / 8] >> (7 - bit % 8) & 1)
            return false;
    return true;
}

const char *ip_net_parse(struct bytes text, struct ip_net *out) {
    struct bytes rest = text, address = bytes_cut(&rest, '/');
    bool four = false;
    uint64_t bits = 0;
    if (!parse(address, &out->base, &four))
        return "expected an address or ADDRESS/BITS";
    if (rest.at == NULL)
        bits = four ? 32 : 128;
    else if (!bytes_to_u64(rest, four ? 32 : 128, &bits))
        return four ? "expected 0 to 32 behind the '/'" : "expected 0 to 128 behind the '/'";
    out->bits = (unsigned)bits + (four ? MAPPED_BITS : 0);
    return is_aligned(out) ? NULL : "the address has bits behind those that count";
}

void ip_text(const struct ip *a, char out[IP_TEXT_MAX]) {
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    memcpy(&six.sin6_addr, a->at, sizeof(a->at));
    peer_text((const struct sockaddr *)&six, out, IP_TEXT_MAX);
}
