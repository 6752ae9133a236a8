#include "accounts.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/require.h"

#define SHARDS      64u
#define PARTS       8  /* of a window */
#define PARTS_KEPT  10 /* those within a window of now, the one that is open, and one to spare */
#define MARK_SLOTS  (1u << 14) /* of a shard: 16 MiB in all when every shard has some */
#define MARK_WAYS   4
#define FIRST_SLOTS 64u
#define FOREVER     UINT64_MAX

struct part {
    uint64_t end_us; /* nothing in it was spent later; 0: free */
    uint64_t spent[STORE_AMOUNTS];
};

struct account {
    struct hash128 key;
    uint64_t turn, kept;
    uint64_t forget_us; /* then it is as good as none */
    uint32_t room;      /* parts: 1 while there has been no window */
    struct part parts[];
};

struct shard {
    _Alignas(64) pthread_mutex_t lock;
    struct account **slots; /* linear probing */
    uint32_t mask, used;    /* slots - 1; accounts */
    size_t bytes;
    uint64_t swept_us;     /* when room was last made */
    struct hash128 *marks; /* sets of MARK_WAYS; made when first needed */
    uint32_t next_way;
};

struct accounts {
    struct hash_key hash_key;
    struct shard shards[SHARDS];
};

struct accounts *accounts_new(struct hash_key hash_key) {
    struct accounts *a = aligned_alloc(_Alignof(struct accounts), sizeof(*a));
    if (a == NULL)
        return NULL;
    memset(a, 0, sizeof(*a));
    a->hash_key = hash_key;
    for (uint32_t i = 0; i < SHARDS; i++)
        require(pthread_mutex_init(&a->shards[i].lock, NULL) == 0);
    return a;
}

void accounts_free(struct accounts *a) {
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct shard *s = &a->shards[i];
        for (uint32_t k = 0; s->slots != NULL && k <= s->mask; k++)
            free(s->slots[k]);
        free(s->slots);
        free(s->marks);
        pthread_mutex_destroy(&s->lock);
    }
    free(a);
}

struct hash128 accounts_key(const struct accounts *a, struct bytes name) {
    return hash_bytes128(&a->hash_key, name);
}

static struct shard *shard_of(struct accounts *a, struct hash128 key) {
    return &a->shards[key.hi % SHARDS];
}

static bool same(struct hash128 a, struct hash128 b) {
    return a.lo == b.lo && a.hi == b.hi;
}

/* ---- The table ---- */

/* key's slot, or the one it may have.  There are always free ones. */
static struct account **slot_of(const struct shard *s, struct hash128 key) {
    uint32_t i = (uint32_t)key.lo & s->mask;
    while (s->slots[i] != NULL && !same(s->slots[i]->key, key))
        i = (i + 1) & s->mask;
    return &s->slots[i];
}

static struct account *find(const struct shard *s, struct hash128 key) {
    return s->slots != NULL ? *slot_of(s, key) : NULL;
}

static bool grow(struct shard *s) {
    uint32_t count = s->slots != NULL ? 2 * (s->mask + 1) : FIRST_SLOTS;
    struct account **before = s->slots;
    uint32_t many = before != NULL ? s->mask + 1 : 0;
    struct account **slots = calloc(count, sizeof(*slots));
    if (slots == NULL)
        return false;
    s->slots = slots;
    s->mask = count - 1;
    for (uint32_t i = 0; i < many; i++)
        if (before[i] != NULL)
            *slot_of(s, before[i]->key) = before[i];
    free(before);
    return true;
}

static size_t size_of(uint32_t parts) {
    return sizeof(struct account) + parts * sizeof(struct part);
}

/* Of accounts whose windows have passed, at most once a second. */
static void make_room(struct shard *s, uint64_t now_us) {
    struct account **before = s->slots;
    if (before == NULL || (s->swept_us > 0 && now_us - s->swept_us < SECONDS(1)))
        return;
    s->swept_us = now_us;
    s->slots = calloc(s->mask + 1, sizeof(*s->slots));
    if (s->slots == NULL) {
        s->slots = before;
        return;
    }
    for (uint32_t i = 0; i <= s->mask; i++) {
        struct account *a = before[i];
        if (a != NULL && a->forget_us > now_us) {
            *slot_of(s, a->key) = a;
        } else if (a != NULL) {
            s->bytes -= size_of(a->room);
            s->used--;
            free(a);
        }
    }
    free(before);
}

/* key's account with room for so many parts.  NULL: no room, or out of memory. */
static struct account *open_account(struct shard *s, struct hash128 key, uint32_t parts,
                                    uint64_t now_us) {
    if (s->bytes + size_of(parts) > STORE_ACCOUNT_BYTES / SHARDS)
        make_room(s, now_us);
    if ((s->slots == NULL || s->used > s->mask / 4 * 3) && !grow(s))
        return NULL;
    struct account **slot = slot_of(s, key), *before = *slot;
    if (before != NULL && before->room >= parts)
        return before;
    size_t size = size_of(parts), freed = before != NULL ? size_of(before->room) : 0;
    if (s->bytes + size - freed > STORE_ACCOUNT_BYTES / SHARDS)
        return NULL;
    struct account *a = realloc(before, size);
    if (a == NULL)
        return NULL;
    if (before == NULL) {
        *a = (struct account){.key = key, .forget_us = FOREVER};
        s->used++;
    }
    memset(a->parts + a->room, 0, (parts - a->room) * sizeof(struct part));
    a->room = parts;
    s->bytes += size - freed;
    return *slot = a;
}

/* ---- Parts ---- */

static bool counts(const struct part *p, uint64_t window_us, uint64_t now_us) {
    return p->end_us > 0 && (window_us == 0 || p->end_us == FOREVER || now_us < window_us ||
                             p->end_us > now_us - window_us);
}

static void add(uint64_t *to, const uint64_t *from, uint64_t times) {
    for (int i = 0; i < STORE_AMOUNTS; i++) {
        uint64_t v;
        if (__builtin_mul_overflow(from[i], times, &v) || v > STORE_AMOUNT_MAX - to[i])
            v = STORE_AMOUNT_MAX - to[i];
        to[i] += v;
    }
}

static void sum_of(const struct account *a, uint64_t window_us, uint64_t now_us, uint64_t *sum) {
    memset(sum, 0, STORE_AMOUNTS * sizeof(*sum));
    for (uint32_t i = 0; a != NULL && i < a->room; i++)
        if (counts(&a->parts[i], window_us, now_us))
            add(sum, a->parts[i].spent, 1);
}

/* The part that what is spent now goes into.  Where all are taken, after the window was changed,
 * the one that ends last takes it, and ends no sooner. */
static struct part *part_at(struct account *a, uint64_t window_us, uint64_t now_us) {
    uint64_t each = window_us / PARTS + 1;
    uint64_t end = window_us > 0 ? (now_us / each + 1) * each : FOREVER;
    struct part *latest = &a->parts[0], *spare = NULL;
    for (uint32_t i = 0; i < a->room; i++) {
        struct part *p = &a->parts[i];
        if (p->end_us == end)
            return p;
        if (!counts(p, window_us, now_us))
            spare = p;
        if (p->end_us > latest->end_us)
            latest = p;
    }
    if (spare == NULL) {
        latest->end_us = latest->end_us > end ? latest->end_us : end;
        return latest;
    }
    *spare = (struct part){.end_us = end};
    return spare;
}

/* A window after its last part. */
static uint64_t forget_at(const struct account *a, uint64_t window_us) {
    uint64_t last = 0, at;
    for (uint32_t i = 0; i < a->room; i++)
        last = a->parts[i].end_us > last ? a->parts[i].end_us : last;
    if (window_us == 0 || __builtin_add_overflow(last, window_us, &at))
        return FOREVER;
    return at;
}

/* ---- Marks ---- */

static bool is_marked(const struct shard *s, struct hash128 mark) {
    uint32_t set = (uint32_t)(mark.lo % (MARK_SLOTS / MARK_WAYS)) * MARK_WAYS;
    for (uint32_t i = 0; s->marks != NULL && i < MARK_WAYS; i++)
        if (same(s->marks[set + i], mark))
            return true;
    return false;
}

/* In place of another, if need be. */
static void set_mark(struct shard *s, struct hash128 mark) {
    uint32_t set = (uint32_t)(mark.lo % (MARK_SLOTS / MARK_WAYS)) * MARK_WAYS;
    if (s->marks == NULL && (s->marks = calloc(MARK_SLOTS, sizeof(*s->marks))) == NULL)
        return;
    for (uint32_t i = 0; i < MARK_WAYS; i++)
        if (same(s->marks[set + i], (struct hash128){0, 0})) {
            s->marks[set + i] = mark;
            return;
        }
    s->marks[set + s->next_way++ % MARK_WAYS] = mark;
}

/* Items not paid for; each mark counts once.  Their places go to `unpaid`. */
static uint32_t unpaid_items(const struct shard *s, const struct store_spending *what,
                             uint32_t *unpaid) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < what->items; i++) {
        bool known = is_marked(s, what->marks[i]);
        for (uint32_t k = 0; k < count && !known; k++)
            known = same(what->marks[unpaid[k]], what->marks[i]);
        if (!known)
            unpaid[count++] = i;
    }
    return count;
}

/* ---- Spending ---- */

static bool fits(const uint64_t *spent, const struct store_budget *budget) {
    for (int i = 0; i < STORE_AMOUNTS; i++)
        if (budget->limit[i] > 0 && spent[i] <= budget->limit[i])
            return true;
    return false;
}

/* How long until what is asked for would fit; UINT64_MAX: more than the whole. */
static uint64_t wait_for(const struct account *a, const struct store_budget *budget,
                         const struct store_spending *what, uint32_t items, uint64_t now_us) {
    uint64_t alone[STORE_AMOUNTS] = {0}, least = UINT64_MAX;
    add(alone, what->cost, items);
    if (budget->window_us == 0 || !fits(alone, budget))
        return UINT64_MAX;
    for (uint32_t i = 0; a != NULL && i < a->room; i++)
        if (counts(&a->parts[i], budget->window_us, now_us) && a->parts[i].end_us < least)
            least = a->parts[i].end_us;
    if (least > UINT64_MAX - budget->window_us)
        return UINT64_MAX;
    return least + budget->window_us > now_us ? least + budget->window_us - now_us : 1;
}

static bool spend_locked(struct shard *s, struct hash128 key, const struct store_budget *budget,
                         const struct store_spending *what, uint64_t now_us,
                         struct store_answer *out, uint64_t *turn) {
    uint32_t unpaid[STORE_ITEMS_MAX];
    uint64_t sum[STORE_AMOUNTS];
    uint32_t items = what->marks != NULL ? unpaid_items(s, what, unpaid) : what->items;
    struct account *a = find(s, key);
    sum_of(a, budget->window_us, now_us, sum);
    memcpy(out->spent, sum, sizeof(sum));
    *turn = a != NULL ? a->turn : 0;
    add(sum, what->cost, items);
    out->admitted = items == 0 || fits(sum, budget);
    if (!out->admitted)
        out->retry_after_us = wait_for(a, budget, what, items, now_us);
    if (items == 0 || !out->admitted)
        return true;
    a = open_account(s, key, budget->window_us > 0 ? PARTS_KEPT : 1, now_us);
    if (a == NULL)
        return false;
    struct part *part = part_at(a, budget->window_us, now_us);
    add(part->spent, what->cost, items);
    a->forget_us = forget_at(a, budget->window_us);
    *turn = ++a->turn;
    for (uint32_t i = 0; what->marks != NULL && i < items; i++)
        set_mark(s, what->marks[unpaid[i]]);
    memcpy(out->spent, sum, sizeof(sum));
    out->charged = items;
    return true;
}

bool accounts_spend(struct accounts *all, struct hash128 key, const struct store_budget *budget,
                    const struct store_spending *what, uint64_t now_us, struct store_answer *out,
                    uint64_t *turn) {
    struct shard *s = shard_of(all, key);
    require(what->items > 0 && (what->marks == NULL || what->items <= STORE_ITEMS_MAX));
    *out = (struct store_answer){.status = STORE_DONE};
    pthread_mutex_lock(&s->lock);
    bool ok = spend_locked(s, key, budget, what, now_us, out, turn);
    pthread_mutex_unlock(&s->lock);
    return ok;
}

/* ---- Keeping ---- */

void accounts_save(struct accounts *all, struct hash128 key, struct buf *out, uint64_t *turn,
                   uint64_t *end_us) {
    struct shard *s = shard_of(all, key);
    pthread_mutex_lock(&s->lock);
    const struct account *a = find(s, key);
    *turn = a != NULL ? a->turn : 0;
    *end_us = 0;
    for (uint32_t i = 0; a != NULL && i < a->room; i++)
        if (a->parts[i].end_us > 0) {
            buf_add(out, &a->parts[i], sizeof(a->parts[i]));
            *end_us = a->parts[i].end_us > *end_us ? a->parts[i].end_us : *end_us;
        }
    pthread_mutex_unlock(&s->lock);
}

void accounts_kept(struct accounts *all, struct hash128 key, uint64_t turn) {
    struct shard *s = shard_of(all, key);
    pthread_mutex_lock(&s->lock);
    struct account *a = find(s, key);
    if (a != NULL && a->kept < turn)
        a->kept = turn;
    pthread_mutex_unlock(&s->lock);
}

bool accounts_is_kept(struct accounts *all, struct hash128 key) {
    struct shard *s = shard_of(all, key);
    pthread_mutex_lock(&s->lock);
    const struct account *a = find(s, key);
    bool kept = a == NULL || a->kept >= a->turn;
    pthread_mutex_unlock(&s->lock);
    return kept;
}

bool accounts_load(struct accounts *all, struct hash128 key, struct bytes saved) {
    struct shard *s = shard_of(all, key);
    size_t count = saved.len / sizeof(struct part);
    if (saved.len % sizeof(struct part) != 0 || count > PARTS_KEPT)
        return false;
    if (count == 0)
        return true; /* forgotten while it was on its way to the file */
    pthread_mutex_lock(&s->lock);
    struct account *a = open_account(s, key, (uint32_t)count, 0);
    if (a != NULL)
        memcpy(a->parts, saved.at, saved.len);
    bool ok = a != NULL;
    for (size_t i = 0; i < count && ok; i++)
        for (int k = 0; k < STORE_AMOUNTS && ok; k++)
            ok = a->parts[i].spent[k] <= STORE_AMOUNT_MAX;
    pthread_mutex_unlock(&s->lock);
    return ok;
}
