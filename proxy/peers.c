#include "peers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/require.h"
#include "crypto.h"

enum { BUCKETS = 4096 };

/* What of an address counts: IPv4 mapped into IPv6, or the first 64 bits. */
struct peer_key {
    unsigned char at[16];
};

struct entry {
    struct entry *next;
    struct peer_key key;
    uint64_t count;
};

struct peers {
    pthread_mutex_t lock; /* taken when a connection comes or goes */
    struct hash_key hash;
    struct entry *buckets[BUCKETS];
    uint64_t total;
};

struct peers *peers_new(void) {
    struct peers *p = calloc(1, sizeof(*p));
    if (p != NULL) {
        pthread_mutex_init(&p->lock, NULL);
        p->hash = crypto_hash_key();
    }
    return p;
}

void peers_free(struct peers *p) {
    require(p->total == 0);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static struct peer_key key_of(const struct sockaddr *a) {
    struct peer_key key = {{0}};
    if (a->sa_family == AF_INET) {
        key.at[10] = key.at[11] = 0xff;
        memcpy(key.at + 12, &((const struct sockaddr_in *)a)->sin_addr, 4);
    } else if (a->sa_family == AF_INET6) {
        const struct in6_addr *six = &((const struct sockaddr_in6 *)a)->sin6_addr;
        memcpy(key.at, six, IN6_IS_ADDR_V4MAPPED(six) ? 16 : 8);
    }
    return key;
}

static struct entry **find(struct peers *p, const struct peer_key *key) {
    uint64_t h = hash_bytes(&p->hash, bytes_of(key->at, sizeof(key->at)));
    struct entry **e = &p->buckets[h % BUCKETS];
    while (*e != NULL && memcmp(&(*e)->key, key, sizeof(*key)) != 0)
        e = &(*e)->next;
    return e;
}

bool peers_enter(struct peers *p, const struct sockaddr *address, uint64_t most, uint64_t total) {
    struct peer_key key = key_of(address);
    bool ok = false;
    pthread_mutex_lock(&p->lock);
    struct entry **e = find(p, &key);
    if (*e == NULL && (*e = calloc(1, sizeof(**e))) != NULL)
        (*e)->key = key;
    if (*e != NULL && (*e)->count < most && p->total < total) {
        (*e)->count++;
        p->total++;
        ok = true;
    }
    if (*e != NULL && (*e)->count == 0) {
        free(*e);
        *e = NULL; /* It was the last of its chain: find() stops there. */
    }
    pthread_mutex_unlock(&p->lock);
    return ok;
}

void peers_leave(struct peers *p, const struct sockaddr *address) {
    struct peer_key key = key_of(address);
    pthread_mutex_lock(&p->lock);
    struct entry **e = find(p, &key), *gone = *e;
    require(gone != NULL && gone->count > 0 && p->total > 0);
    p->total--;
    if (--gone->count == 0) {
        *e = gone->next;
        free(gone);
    }
    pthread_mutex_unlock(&p->lock);
}

uint64_t peers_total(struct peers *p) {
    pthread_mutex_lock(&p->lock);
    uint64_t total = p->total;
    pthread_mutex_unlock(&p->lock);
    return total;
}

void peer_text(const struct sockaddr *address, char *out, size_t len) {
    char text[INET6_ADDRSTRLEN] = "unix";
    const char *suffix = "";
    if (address->sa_family == AF_INET) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, text, sizeof(text));
    } else if (address->sa_family == AF_INET6) {
        struct in6_addr six = ((const struct sockaddr_in6 *)address)->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(&six)) {
            inet_ntop(AF_INET, six.s6_addr + 12, text, sizeof(text));
        } else {
            memset(six.s6_addr + 8, 0, 8);
            inet_ntop(AF_INET6, &six, text, sizeof(text));
            suffix = "/64";
        }
    }
    snprintf(out, len, "%s%s", text, suffix);
}
