#include "store_redis_budget.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/require.h"
#include "redis.h"

#define PARTS     8            /* of a window */
#define MARK_KEEP "2592000000" /* milliseconds: 30 days after the last new one */
#define MARK      sizeof(struct hash128)

/* KEYS: parts, marks.  ARGV: window, length of a part, items, costs, limits, marks (16 bytes each,
 * or none), most marks, most of an amount, the reply's number.
 * Answers {number, admitted, items charged, microseconds to wait or -1, the amounts spent}. */
static const char script[] =
    "local window, each, items = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])\n"
    "local most, number = tonumber(ARGV[8]), tonumber(ARGV[9])\n"
    "local function numbers(s)\n"
    "  local out = {}\n"
    "  for v in string.gmatch(s, '%d+') do out[#out + 1] = tonumber(v) end\n"
    "  return out\n"
    "end\n"
    "local cost, limit = numbers(ARGV[4]), numbers(ARGV[5])\n"
    "local t = redis.call('TIME')\n"
    "local now = t[1] * 1000000 + t[2]\n"
    "local sum, gone, first, last = {}, {}, nil, 0\n"
    "local forever = window == 0\n"
    "for k = 1, #cost do sum[k] = 0 end\n"
    "local parts = redis.call('HGETALL', KEYS[1])\n"
    "for i = 1, #parts, 2 do\n"
    "  local stop = tonumber(parts[i])\n"
    "  if window == 0 or stop == 0 or stop > now - window then\n"
    "    local at = numbers(parts[i + 1])\n"
    "    for k = 1, #cost do sum[k] = math.min(most, sum[k] + at[k]) end\n"
    "    if stop == 0 then forever = true\n"
    "    elseif not first or stop < first then first = stop end\n"
    "    if stop > last then last = stop end\n"
    "  else\n"
    "    gone[#gone + 1] = parts[i]\n"
    "  end\n"
    "end\n"
    "local marks, seen = {}, {}\n"
    "for i = 1, #ARGV[6], 16 do\n"
    "  local m = string.sub(ARGV[6], i, i + 15)\n"
    "  if not seen[m] and redis.call('SISMEMBER', KEYS[2], m) == 0 then marks[#marks + 1] = m end\n"
    "  seen[m] = true\n"
    "end\n"
    "if #ARGV[6] > 0 then items = #marks end\n"
    "local fits, alone, total = items == 0, false, {}\n"
    "for k = 1, #cost do\n"
    "  local more = math.min(most, cost[k] * items)\n"
    "  total[k] = math.min(most, sum[k] + more)\n"
    "  if limit[k] > 0 and total[k] <= limit[k] then fits = true end\n"
    "  if limit[k] > 0 and more <= limit[k] then alone = true end\n"
    "end\n"
    "if not fits then\n"
    "  local wait = -1\n"
    "  if alone and window > 0 and first then wait = math.max(first + window - now, 1) end\n"
    "  return {number, 0, 0, wait, unpack(sum)}\n"
    "end\n"
    "if items == 0 then return {number, 1, 0, 0, unpack(sum)} end\n"
    "local stop = 0\n"
    "if window > 0 then stop = now - math.fmod(now, each) + each end\n"
    "last = math.max(last, stop)\n"
    "local field = string.format('%.0f', stop)\n"
    "local at = numbers(redis.call('HGET', KEYS[1], field) or '')\n"
    "for k = 1, #cost do\n"
    "  local v = math.min(most, (at[k] or 0) + math.min(most, cost[k] * items))\n"
    "  at[k] = string.format('%.0f', v)\n"
    "end\n"
    "redis.call('HSET', KEYS[1], field, table.concat(at, ','))\n"
    "for _, f in ipairs(gone) do redis.call('HDEL', KEYS[1], f) end\n"
    "if forever then redis.call('PERSIST', KEYS[1])\n"
    "else redis.call('PEXPIREAT', KEYS[1],\n"
    "                string.format('%.0f', math.ceil((last + window) / 1000) + 1000)) end\n"
    "for _, m in ipairs(marks) do redis.call('SADD', KEYS[2], m) end\n"
    "if #marks > 0 then\n"
    "  local over = redis.call('SCARD', KEYS[2]) - tonumber(ARGV[7])\n"
    "  if over > 0 then redis.call('SPOP', KEYS[2], over) end\n"
    "  redis.call('PEXPIRE', KEYS[2], " MARK_KEEP ")\n"
    "end\n"
    "return {number, 1, items, 0, unpack(total)}\n";

enum { WINDOW, EACH, ITEMS, COSTS, LIMITS, MARKS, MARKS_MOST, MOST, ARGUMENTS };
enum { ARGS = 5 + ARGUMENTS, REPLY = 3 + STORE_AMOUNTS, KEY = BUCKET_NAME + 4 };

/* A spending under way, with the command as it may have to be sent again. */
struct question {
    struct list link;
    struct redis_budgets *owner;
    store_done_fn *done;
    void *cookie;
    bool again; /* sent with the whole script already */
    uint32_t items;
    char keys[2][KEY];
    struct bytes argument[ARGUMENTS]; /* in text */
    size_t marks_len;
    char text[2 * STORE_AMOUNTS * 24 + 8 * 24];
    char marks[];
};

/* ---- Sending ---- */

static void on_reply(void *cookie, enum redis_result, const struct redis_reply *);

static bool send_question(struct question *q) {
    struct bytes argv[ARGS] = {
        q->again ? BYTES_LITERAL("EVAL") : BYTES_LITERAL("EVALSHA"),
        q->again ? BYTES_LITERAL(script) : bytes_of(q->owner->sha1, sizeof(q->owner->sha1) - 1),
        BYTES_LITERAL("2"),
        bytes_of(q->keys[0], KEY),
        bytes_of(q->keys[1], KEY),
    };
    memcpy(argv + 5, q->argument, sizeof(q->argument));
    return redis_send_numbered(q->owner->redis, ARGS, argv, 3, on_reply, q);
}

static void say(struct question *q, size_t *at, int which, const uint64_t *v, int count) {
    size_t from = *at;
    for (int i = 0; i < count; i++) {
        int n = snprintf(q->text + *at, sizeof(q->text) - *at, i > 0 ? ",%llu" : "%llu",
                         (unsigned long long)v[i]);
        require(n > 0 && (size_t)n < sizeof(q->text) - *at);
        *at += (size_t)n;
    }
    q->argument[which] = bytes_of(q->text + from, *at - from);
}

static void say_all(struct question *q, const struct store_budget *budget,
                    const struct store_spending *what) {
    const uint64_t each = budget->window_us / PARTS + 1, items = what->items;
    const uint64_t marks = STORE_MARKS_MAX, most = STORE_AMOUNT_MAX;
    size_t at = 0;
    say(q, &at, WINDOW, &budget->window_us, 1);
    say(q, &at, EACH, &each, 1);
    say(q, &at, ITEMS, &items, 1);
    say(q, &at, COSTS, what->cost, STORE_AMOUNTS);
    say(q, &at, LIMITS, budget->limit, STORE_AMOUNTS);
    say(q, &at, MARKS_MOST, &marks, 1);
    say(q, &at, MOST, &most, 1);
    if (q->marks_len > 0)
        memcpy(q->marks, what->marks, q->marks_len);
    q->argument[MARKS] = bytes_of(q->marks, q->marks_len);
}

static struct question *question_new(struct redis_budgets *b, const struct bucket *bucket,
                                     const struct store_budget *budget,
                                     const struct store_spending *what) {
    size_t marks_len = what->marks != NULL ? what->items * MARK : 0;
    struct question *q = malloc(sizeof(*q) + marks_len);
    if (q == NULL)
        return NULL;
    *q = (struct question){.owner = b, .items = what->items, .marks_len = marks_len};
    for (int i = 0; i < 2; i++) {
        memcpy(q->keys[i], "q{", 2);
        memcpy(q->keys[i] + 2, bucket->name, BUCKET_NAME);
        q->keys[i][KEY - 2] = '}';
        q->keys[i][KEY - 1] = "bm"[i];
    }
    say_all(q, budget, what);
    list_push(&b->asked, &q->link);
    return q;
}

static void question_free(struct question *q) {
    list_remove(&q->link);
    free(q);
}

/* ---- Answers ---- */

/* What no script of ours says is no answer. */
static bool read_answer(const struct question *q, const struct redis_reply *reply,
                        struct store_answer *out) {
    const struct redis_value *v = reply->values;
    if (!reply->array || reply->count != REPLY)
        return false;
    for (uint32_t i = 0; i < REPLY; i++)
        if (v[i].type != REDIS_INTEGER || v[i].integer < (i == 2 ? -1 : 0))
            return false;
    if (v[0].integer > 1 || (uint64_t)v[1].integer > q->items)
        return false;
    *out = (struct store_answer){.status = STORE_DONE,
                                 .admitted = v[0].integer == 1,
                                 .charged = (uint32_t)v[1].integer,
                                 .retry_after_us =
                                     v[2].integer < 0 ? UINT64_MAX : (uint64_t)v[2].integer};
    for (int i = 0; i < STORE_AMOUNTS; i++)
        out->spent[i] = (uint64_t)v[3 + i].integer;
    return true;
}

static void on_reply(void *cookie, enum redis_result result, const struct redis_reply *reply) {
    struct question *q = cookie;
    struct store_answer answer = {.status = STORE_FAILED};
    store_done_fn *done = q->done;
    void *whose = q->cookie;
    if (result == REDIS_ERROR && !q->again && !reply->array &&
        bytes_starts(reply->values[0].text, "NOSCRIPT")) {
        q->again = true;
        if (send_question(q))
            return;
    } else if (result == REDIS_OK && !read_answer(q, reply, &answer)) {
        answer = (struct store_answer){.status = STORE_FAILED};
    }
    question_free(q);
    done(whose, &answer);
}

/* ---- The contract ---- */

void redis_budgets_init(struct redis_budgets *b, struct redis *redis) {
    unsigned char digest[SHA1_BYTES];
    b->redis = redis;
    list_init(&b->asked);
    crypto_sha1(BYTES_LITERAL(script), digest);
    crypto_hex(digest, sizeof(digest), b->sha1);
}

enum store_status redis_budgets_spend(struct redis_budgets *b, const struct bucket *bucket,
                                      const struct store_budget *budget,
                                      const struct store_spending *what, store_done_fn *done,
                                      void *cookie, struct store_answer *out) {
    require(what->items > 0 && (what->marks == NULL || what->items <= STORE_ITEMS_MAX));
    struct question *q = question_new(b, bucket, budget, what);
    *out = (struct store_answer){.status = STORE_FAILED};
    if (q == NULL)
        return STORE_FAILED;
    q->done = done;
    q->cookie = cookie;
    if (send_question(q))
        return out->status = STORE_PENDING;
    question_free(q);
    return STORE_FAILED;
}

void redis_budgets_cancel(struct redis_budgets *b, void *cookie) {
    for (struct list *n = b->asked.next, *next; n != &b->asked; n = next) {
        struct question *q = list_object(n, struct question, link);
        next = n->next;
        if (q->cookie == cookie) {
            redis_cancel(b->redis, q);
            question_free(q);
        }
    }
}

void redis_budgets_free(struct redis_budgets *b) {
    while (!list_empty(&b->asked))
        question_free(list_object(b->asked.next, struct question, link));
}
