/* mailbox.h - how threads talk: a message that is already part of the object is posted to the
 * thread that shall act on it, and run there from its event loop. */
#ifndef QG_MAILBOX_H
#define QG_MAILBOX_H

#include <event2/event.h>
#include <pthread.h>

#include "base/bytes.h"
#include "base/list.h"

struct mail {
    struct list link;
    void (*run)(struct mail *, void *owner); /* in the owner's thread; may free the mail */
};

struct mailbox {
    pthread_mutex_t lock;
    struct list in;
    int fd; /* eventfd */
    struct event *event;
    void *owner; /* handed to run */
};

MUST bool mailbox_open(struct mailbox *box, struct event_base *base, void *owner);
void mailbox_close(struct mailbox *box); /* runs what is still in it */

/* From any thread.  The mail is the receiver's until run is called. */
void mailbox_post(struct mailbox *box, struct mail *m);

#endif
