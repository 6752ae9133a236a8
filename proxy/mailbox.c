#include "mailbox.h"

#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void run_all(struct mailbox *box) {
    struct list got;
    list_init(&got);
    pthread_mutex_lock(&box->lock);
    while (!list_empty(&box->in)) {
        struct list *first = box->in.next;
        list_remove(first);
        list_push(&got, first);
    }
    pthread_mutex_unlock(&box->lock);
    while (!list_empty(&got)) {
        struct mail *m = list_object(got.next, struct mail, link);
        list_remove(&m->link);
        m->run(m, box->owner);
    }
}

static void on_mail(evutil_socket_t fd, short what, void *cookie) {
    uint64_t count;
    (void)what;
    if (read(fd, &count, sizeof(count)) < 0)
        count = 0; /* Woken by somebody else's read: the list decides. */
    run_all(cookie);
}

bool mailbox_open(struct mailbox *box, struct event_base *base, void *owner) {
    list_init(&box->in);
    box->owner = owner;
    box->event = NULL;
    if ((box->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0)
        return false;
    pthread_mutex_init(&box->lock, NULL);
    box->event = event_new(base, box->fd, EV_READ | EV_PERSIST, on_mail, box);
    if (box->event != NULL && event_add(box->event, NULL) == 0)
        return true;
    mailbox_close(box);
    return false;
}

void mailbox_close(struct mailbox *box) {
    run_all(box);
    if (box->event != NULL)
        event_free(box->event);
    close(box->fd);
    pthread_mutex_destroy(&box->lock);
}

void mailbox_post(struct mailbox *box, struct mail *m) {
    static const uint64_t one = 1;
    pthread_mutex_lock(&box->lock);
    bool first = list_empty(&box->in);
    list_push(&box->in, &m->link);
    pthread_mutex_unlock(&box->lock);
    /* A full counter (EAGAIN) means that the owner is about to wake anyway. */
    if (first && write(box->fd, &one, sizeof(one)) < 0)
        return;
}
