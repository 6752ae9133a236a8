/* arena.h - memory that goes away all at once.
 *
 * Nothing inside an arena is freed alone.  An arena belongs to one thread. */
#ifndef QG_ARENA_H
#define QG_ARENA_H

#include "bytes.h"

struct arena;

/* A new arena that hands out at most cap bytes.  NULL: out of memory. */
struct arena *arena_new(size_t cap);

/* Frees all blocks but the first, which is kept for the next user. */
void arena_reset(struct arena *a);
void arena_free(struct arena *a);

/* size bytes aligned to 16, not cleared.  NULL: over the cap or out of memory. */
MUST void *arena_alloc(struct arena *a, size_t size);

/* The same, cleared; count * size is checked for overflow. */
MUST void *arena_calloc(struct arena *a, size_t count, size_t size);

#define arena_new_array(a, type, count) ((type *)arena_calloc((a), (count), sizeof(type)))

/* A copy with a NUL behind it (not counted).  at == NULL: out of memory. */
MUST struct bytes arena_copy(struct arena *a, struct bytes from);

/* The parts behind each other, with a NUL.  at == NULL: out of memory. */
MUST struct bytes arena_join(struct arena *a, const struct bytes *parts, size_t count);

/* printf into the arena, NUL-terminated.  at == NULL: out of memory. */
MUST struct bytes arena_printf(struct arena *a, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Bytes handed out since the last reset. */
size_t arena_used(const struct arena *a);

#endif
