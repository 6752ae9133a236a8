/* forwarded.h - whose query a proxy in front of us passes on: X-Forwarded-For, or Forwarded (RFC
 * 7239).
 *
 * The header is believed only as far as those who wrote it are trusted: from the peer of the
 * connection leftwards, each entry was written by the hop to its right.  The first hop that is no
 * trusted proxy is the client.  An entry that is no address (garbage, `unknown`, `_hidden`), or the
 * FORWARDED_HOPS_MAX-th, ends the walk: the trusted proxy that passed it on is then the client, so
 * that nobody can choose who he is by sending rubbish. */
#ifndef QG_FORWARDED_H
#define QG_FORWARDED_H

#include "../proto/message.h"
#include "ip.h"

enum forwarded_header { FORWARDED_NONE, FORWARDED_X_FOR, FORWARDED_RFC7239 };

struct forwarded_conf {
    int header; /* enum forwarded_header */
    const struct ip_net *trusted;
    uint32_t trusted_count;
    bool trust_local; /* peers on a local socket are trusted */
};

/* peer: of the connection; NULL: it came over a local socket.  False: the connection's peer itself
 * is the client. */
MUST bool forwarded_client(const struct forwarded_conf *conf, const struct message *head,
                           const struct ip *peer, struct ip *out);

#endif
