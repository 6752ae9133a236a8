/* listen.h - listening sockets, one set per worker (SO_REUSEPORT: the kernel spreads connections).
 */
#ifndef QG_LISTEN_H
#define QG_LISTEN_H

#include "front.h"
#include "policy.h"
#include "worker.h"

/* A listening socket for address, not blocking.  shared: several sockets may have it (one per
 * worker).  -1: *error says why. */
int listen_socket(const struct address *address, bool shared, char *error, size_t len);

/* Accepts from fd in w's loop and hands connections to handler.  index: of the listener in the
 * configuration (its TLS context is looked up at each accept, so a reload renews it); -1: the admin
 * listener.  Takes fd over.  False: out of memory, fd is closed. */
MUST bool listen_start(struct worker *w, int fd, int index, const struct front_handler *handler);

/* Stops all listeners of w, after accepting what the kernel had already taken for us. */
void listen_stop(struct worker *w);

#endif
