#include "arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "limits.h"
#include "require.h"

struct block {
    struct block *next;
    size_t room;
    _Alignas(16) char at[];
};

struct arena {
    struct block *first, *last;
    size_t offset; /* used of last */
    size_t used, cap;
};

static struct block *block_new(size_t room) {
    struct block *b = malloc(sizeof(*b) + room);
    if (b != NULL) {
        b->next = NULL;
        b->room = room;
    }
    return b;
}

struct arena *arena_new(size_t cap) {
    struct arena *a = malloc(sizeof(*a));
    if (a == NULL)
        return NULL;
    if ((a->first = block_new(ARENA_BLOCK)) == NULL) {
        free(a);
        return NULL;
    }
    a->cap = cap;
    a->last = a->first;
    a->offset = a->used = 0;
    return a;
}

void arena_reset(struct arena *a) {
    for (struct block *b = a->first->next, *next; b != NULL; b = next) {
        next = b->next;
        free(b);
    }
    a->first->next = NULL;
    a->last = a->first;
    a->offset = a->used = 0;
}

void arena_free(struct arena *a) {
    if (a == NULL)
        return;
    arena_reset(a);
    free(a->first);
    free(a);
}

void *arena_alloc(struct arena *a, size_t size) {
    if (size > a->cap || a->used > a->cap - size)
        return NULL;
    size_t rounded = (size + 15) & ~(size_t)15;
    if (a->last->room - a->offset < rounded) {
        struct block *b = block_new(rounded > ARENA_BLOCK ? rounded : ARENA_BLOCK);
        if (b == NULL)
            return NULL;
        a->last->next = b;
        a->last = b;
        a->offset = 0;
    }
    void *at = a->last->at + a->offset;
    a->offset += rounded;
    a->used += rounded;
    return at;
}

void *arena_calloc(struct arena *a, size_t count, size_t size) {
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        return NULL;
    void *at = arena_alloc(a, total);
    return at != NULL ? memset(at, 0, total) : NULL;
}

struct bytes arena_copy(struct arena *a, struct bytes from) {
    return arena_join(a, &from, 1);
}

struct bytes arena_join(struct arena *a, const struct bytes *parts, size_t count) {
    size_t len = 0;
    for (size_t i = 0; i < count; i++)
        len += parts[i].len;
    char *at = arena_alloc(a, len + 1), *to = at;
    if (at == NULL)
        return bytes_of(NULL, 0);
    for (size_t i = 0; i < count; i++) {
        if (parts[i].len > 0)
            memcpy(to, parts[i].at, parts[i].len);
        to += parts[i].len;
    }
    *to = '\0';
    return bytes_of(at, len);
}

struct bytes arena_printf(struct arena *a, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    require(n >= 0);
    char *at = arena_alloc(a, (size_t)n + 1);
    if (at != NULL)
        vsnprintf(at, (size_t)n + 1, format, again);
    va_end(again);
    return bytes_of(at, at != NULL ? (size_t)n : 0);
}

size_t arena_used(const struct arena *a) {
    return a->used;
}
