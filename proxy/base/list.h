/* list.h - intrusive doubly linked list.  A node is part of the object it links. */
#ifndef QG_LIST_H
#define QG_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *l) {
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l) {
    return l->next == l;
}

/* Puts n last in head. */
static inline void list_push(struct list *head, struct list *n) {
    n->next = head;
    n->prev = head->prev;
    head->prev->next = n;
    head->prev = n;
}

/* Takes n out of whatever list it is in; n is then an empty list of its own. */
static inline void list_remove(struct list *n) {
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_init(n);
}

#define list_object(node, type, member) ((type *)((char *)(node)-offsetof(type, member)))

#endif
