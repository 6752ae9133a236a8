/* accounts.h - what clients have spent of their budgets: a bounded table under sharded locks.
 *
 * An account that cannot be made is no account that is empty: then nothing is spent.  Only what a
 * window has passed may make room; marks may be forgotten at any time, which only charges again.
 *
 * A window is kept in parts of an eighth.  A part counts until a whole window after its end, so
 * that for any window w: spent <= limit, and what was spent counts for 9/8 of w at most. */
#ifndef QG_ACCOUNTS_H
#define QG_ACCOUNTS_H

#include "base/buf.h"
#include "store.h"

struct accounts;

/* hash_key makes keys of names.  NULL: out of memory. */
struct accounts *accounts_new(struct hash_key hash_key);
void accounts_free(struct accounts *);

struct hash128 accounts_key(const struct accounts *, struct bytes name);

/* Spends, or does not, as of now (microseconds of the clock that all times here are of).  *turn: of
 * the account's changes, the last; 0: it has none.  False: no room. */
MUST bool accounts_spend(struct accounts *, struct hash128 key, const struct store_budget *,
                         const struct store_spending *, uint64_t now_us, struct store_answer *out,
                         uint64_t *turn);

/* What has to be kept of an account: appended to out.  *turn: what was its last change then; 0:
 * there is no such account.  *end_us: of its last part; UINT64_MAX: it has none. */
void accounts_save(struct accounts *, struct hash128 key, struct buf *out, uint64_t *turn,
                   uint64_t *end_us);

/* All changes up to turn are kept, or: is that so? */
void accounts_kept(struct accounts *, struct hash128 key, uint64_t turn);

/* Of what accounts_save wrote.  False: damaged, or no room. */
MUST bool accounts_load(struct accounts *, struct hash128 key, struct bytes saved);

/* Is everything of key kept? */
bool accounts_is_kept(struct accounts *, struct hash128 key);

#endif
