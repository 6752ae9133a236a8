/* ip.h - internet addresses and networks as 128 bits: an IPv4 address is the IPv6 one it maps to.
 */
#ifndef QG_IP_H
#define QG_IP_H

#include <sys/socket.h>

#include "base/bytes.h"

struct ip {
    unsigned char at[16];
};

struct ip_net {
    struct ip base; /* the bits behind the first `bits` are 0 */
    unsigned bits;
};

/* False: not one of the internet's. */
MUST bool ip_of(const struct sockaddr *address, struct ip *out);

/* 192.0.2.1 or 2001:db8::1: no brackets, no port, no zone, no other spelling.  False: not that. */
MUST bool ip_parse(struct bytes text, struct ip *out);

/* An address, or an address and '/' and the number of its first bits that count.  NULL, or what is
 * wrong. */
const char *ip_net_parse(struct bytes text, struct ip_net *out);

bool ip_in(const struct ip *a, const struct ip_net *net);

/* As peer_text() of peers.h has it: IPv4 whole, IPv6 as its /64. */
#define IP_TEXT_MAX 64
void ip_text(const struct ip *a, char out[IP_TEXT_MAX]);

#endif
