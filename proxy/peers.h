/* peers.h - how many connections each client address holds, over all workers. */
#ifndef QG_PEERS_H
#define QG_PEERS_H

#include <sys/socket.h>

#include "base/bytes.h"

struct peers;

struct peers *peers_new(void); /* NULL: out of memory */
void peers_free(struct peers *p);

/* One more connection of this address (an IPv6 one counts by its /64), if it has fewer than most
 * and all addresses together fewer than total.  False: refused, nothing was counted. */
MUST bool peers_enter(struct peers *p, const struct sockaddr *address, uint64_t most,
                      uint64_t total);
void peers_leave(struct peers *p, const struct sockaddr *address);
uint64_t peers_total(struct peers *p);

/* The text that stands for the address: IPv4 whole, IPv6 as its /64, "unix" for a local socket. */
void peer_text(const struct sockaddr *address, char *out, size_t len);

#endif
