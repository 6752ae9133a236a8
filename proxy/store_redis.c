#include "store_redis.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/require.h"
#include "redis.h"
#include "store_redis_budget.h"

/* What a double holds exactly, and Lua 5.1 has nothing else. */
#define EXACT_MAX (UINT64_C(1) << 53)

/* KEYS: the bucket.  ARGV: count, whole and part (a token takes whole + part/count microseconds),
 * burst, n, extra, what to do: t(ake), g(ive back), c(harge), and the reply's number.
 * Answers {number, admitted, granted, microseconds to wait}.  Times are pairs: whole microseconds,
 * and count-ths of one.  fmod is exact where the quotient's rounding is not. */
static const char script[] =
    "local count, whole, part = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])\n"
    "local burst, n, extra = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])\n"
    "local number = tonumber(ARGV[8])\n"
    "local t = redis.call('TIME')\n"
    "local now = t[1] * 1000000 + t[2]\n"
    "local function cost(k)\n"
    "  local p = math.fmod(k * part, count)\n"
    "  return k * whole + (k * part - p) / count, p\n"
    "end\n"
    "local function over(au, ap, bu, bp) return au > bu or (au == bu and ap > bp) end\n"
    /* The debt: how far the TAT is ahead of now, at most a burst; one drawn in to that is written
     * down even when nothing is taken, or it would be drawn in again and never be paid. */
    "local mu, mp = cost(burst)\n"
    "local du, dp, drawn = 0, 0, false\n"
    "local rest = tonumber(redis.call('GET', KEYS[1]) or nil)\n"
    "if rest then\n"
    "  dp = math.fmod(rest, count)\n"
    "  du = (redis.call('PEXPIRETIME', KEYS[1]) - 2) * 1000 + (rest - dp) / count - now\n"
    "  if du < 0 then du, dp = 0, 0 end\n"
    "  drawn = over(du, dp, mu, mp)\n"
    "  if drawn then du, dp = mu, mp end\n"
    "end\n"
    "local function add(au, ap)\n"
    "  du, dp = du + au, dp + ap\n"
    "  if dp >= count then du, dp = du + 1, dp - count end\n"
    "  if dp < 0 then du, dp = du - 1, dp + count end\n"
    "end\n"
    "local function store()\n"
    "  if du < 0 or (du == 0 and dp == 0) then\n"
    "    redis.call('DEL', KEYS[1])\n"
    "    return\n"
    "  end\n"
    "  local below = math.fmod(now + du, 1000)\n"
    "  redis.call('SET', KEYS[1], string.format('%.0f', below * count + dp),\n"
    "             'PXAT', string.format('%.0f', (now + du - below) / 1000 + 2))\n"
    "end\n"
    "if ARGV[7] ~= 't' then\n"
    "  local cu, cp = cost(n)\n"
    "  if ARGV[7] == 'g' then cu, cp = -cu, -cp end\n"
    "  add(cu, cp)\n"
    "  if over(du, dp, mu, mp) then du, dp = mu, mp end\n"
    "  store()\n"
    "  return {number, 1, 0, 0}\n"
    "end\n"
    /* How many fit: an estimate, put right by exact comparison. */
    "local ru, rp = mu - du, mp - dp\n"
    "if rp < 0 then ru, rp = ru - 1, rp + count end\n"
    "local fit = math.min(burst, math.floor((ru + rp / count) / (whole + part / count)))\n"
    "local function fits(k)\n"
    "  local cu, cp = cost(k)\n"
    "  return not over(cu, cp, ru, rp)\n"
    "end\n"
    "while fit > 0 and not fits(fit) do fit = fit - 1 end\n"
    "while fit < burst and fits(fit + 1) do fit = fit + 1 end\n"
    "local granted, wait = 0, 0\n"
    "if fit >= n then granted = math.min(extra, fit - n) end\n"
    "if fit < n or n + granted == 0 then\n"
    "  local cu, cp = cost(math.max(n, 1))\n"
    "  wait = cu - ru\n"
    "  if cp > rp then wait = wait + 1 end\n"
    "  if wait < 0 then wait = 0 end\n"
    "  if drawn then store() end\n"
    "  return {number, fit >= n and 1 or 0, 0, wait}\n"
    "end\n"
    "add(cost(n + granted))\n"
    "store()\n"
    "return {number, 1, granted, 0}\n";

/* Of question.numbers. */
enum { COUNT, WHOLE, PART, BURST, N, EXTRA, NUMBERS };
enum { ARGS = 5 + NUMBERS, NUMBER_TEXT = 21 };

struct redis_source {
    struct source source;
    struct redis *redis;
    struct list asked; /* struct question */
    struct redis_budgets budgets;
    uint64_t (*now_us)(void);
    uint64_t timeout_us;
    char sha1[2 * SHA1_BYTES + 1]; /* of the script, as EVALSHA wants it */
};

/* A command under way.  What it says is kept, for the server may have forgotten the script. */
struct question {
    struct list link; /* redis_source.asked */
    struct redis_source *owner;
    store_done_fn *done; /* NULL: nobody waits for the answer */
    void *cookie;
    uint64_t began_us;
    bool again; /* sent with the whole script already */
    char what;
    char key[STORE_REDIS_KEY + 1];
    uint8_t key_len;
    uint64_t numbers[NUMBERS];
};

/* ---- Rates ---- */

/* Count and period without their common divisor. */
static struct store_rate reduced(const struct store_rate *rate) {
    uint64_t a = rate->count, b = rate->period_us;
    struct store_rate out = *rate;
    require(a > 0 && b > 0);
    while (b > 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    out.count /= a;
    out.period_us /= a;
    return out;
}

/* Every product the script makes stays a whole number that a double holds: times up to a burst from
 * now (the year 2070 leaves room for 60 years of debt), k * part, and a millisecond in count-ths.
 */
static bool counts(const struct store_rate *r) {
    unsigned __int128 span = (unsigned __int128)(r->burst + 1) * r->period_us / r->count;
    unsigned __int128 parts = (unsigned __int128)(r->burst + 1) * (r->period_us % r->count);
    return r->burst < EXACT_MAX && r->count < EXACT_MAX / 1000 && parts < EXACT_MAX &&
           span < EXACT_MAX / 2;
}

bool store_redis_counts(const struct store_rate *rate) {
    struct store_rate r = reduced(rate);
    return counts(&r);
}

/* ---- Sending ---- */

static void on_reply(void *cookie, enum redis_result result, const struct redis_reply *reply);

static bool send_script(struct question *q) {
    char text[NUMBERS][NUMBER_TEXT];
    struct bytes argv[ARGS] = {
        q->again ? BYTES_LITERAL("EVAL") : BYTES_LITERAL("EVALSHA"),
        q->again ? BYTES_LITERAL(script) : bytes_of(q->owner->sha1, sizeof(q->owner->sha1) - 1),
        BYTES_LITERAL("1"),
        bytes_of(q->key, q->key_len),
    };
    for (int i = 0; i < NUMBERS; i++) {
        int len = snprintf(text[i], NUMBER_TEXT, "%llu", (unsigned long long)q->numbers[i]);
        argv[4 + i] = bytes_of(text[i], (size_t)len);
    }
    argv[4 + NUMBERS] = bytes_of(&q->what, 1);
    return redis_send_numbered(q->owner->redis, ARGS, argv, 3, on_reply, q);
}

static struct question *question_new(struct redis_source *s, struct bytes name, store_done_fn *done,
                                     void *cookie) {
    struct question *q = malloc(sizeof(*q));
    if (q == NULL)
        return NULL;
    *q = (struct question){.owner = s, .done = done, .cookie = cookie, .began_us = s->now_us()};
    memcpy(q->key, "q{", 2);
    memcpy(q->key + 2, name.at, BUCKET_NAME);
    q->key[STORE_REDIS_KEY - 1] = '}';
    q->key_len = STORE_REDIS_KEY;
    list_push(&s->asked, &q->link);
    return q;
}

static void question_free(struct question *q) {
    list_remove(&q->link);
    free(q);
}

/* ---- Answers ---- */

/* What no script of ours says is no answer: a server that lies admits nothing. */
static bool read_answer(const struct question *q, const struct redis_reply *reply,
                        struct store_answer *out) {
    const struct redis_value *v = reply->values;
    if (!reply->array || reply->count != 3)
        return false;
    for (uint32_t i = 0; i < 3; i++)
        if (v[i].type != REDIS_INTEGER || v[i].integer < 0)
            return false;
    if (v[0].integer > 1 || (uint64_t)v[1].integer > q->numbers[EXTRA])
        return false;
    *out = (struct store_answer){.status = STORE_DONE,
                                 .admitted = v[0].integer == 1,
                                 .granted = (uint64_t)v[1].integer,
                                 .retry_after_us = (uint64_t)v[2].integer};
    return true;
}

/* Has the server lost the script (a restart, a new master)?  Then it gets the whole text, once. */
static bool lost_script(const struct question *q, enum redis_result result,
                        const struct redis_reply *reply) {
    return result == REDIS_ERROR && !q->again && !reply->array &&
           bytes_starts(reply->values[0].text, "NOSCRIPT");
}

static void on_reply(void *cookie, enum redis_result result, const struct redis_reply *reply) {
    struct question *q = cookie;
    struct store_answer answer = {.status = STORE_FAILED};
    store_done_fn *done = q->done;
    void *whose = q->cookie;
    if (lost_script(q, result, reply)) {
        /* The second command has a deadline of its own: who has waited for most of his waits no
         * longer, and only the script is brought. */
        bool late = q->owner->now_us() - q->began_us > q->owner->timeout_us / 2;
        q->again = true;
        if (send_script(q)) {
            if (!late)
                return;
            q->done = NULL;
        } else {
            question_free(q);
        }
    } else {
        if (result == REDIS_OK)
            read_answer(q, reply, &answer);
        question_free(q);
    }
    if (done != NULL)
        done(whose, &answer);
}

/* ---- The contract ---- */

/* Sends what q says.  False: not sent, q is gone. */
static bool start(struct question *q, const struct store_rate *r, char what, uint64_t n,
                  uint64_t extra) {
    const uint64_t numbers[NUMBERS] = {[COUNT] = r->count,
                                       [WHOLE] = r->period_us / r->count,
                                       [PART] = r->period_us % r->count,
                                       [BURST] = r->burst,
                                       [N] = n,
                                       [EXTRA] = extra};
    memcpy(q->numbers, numbers, sizeof(numbers));
    q->what = what;
    if (send_script(q))
        return true;
    question_free(q);
    return false;
}

static enum store_status redis_ask(struct source *source, const struct bucket *b,
                                   const struct store_rate *rate, uint64_t n, uint64_t extra,
                                   store_done_fn *done, void *cookie, struct store_answer *out) {
    struct redis_source *s = (struct redis_source *)source;
    struct store_rate r = reduced(rate);
    struct question *q;
    *out = (struct store_answer){.status = STORE_DONE, .retry_after_us = UINT64_MAX};
    if (n > r.burst)
        return STORE_DONE;
    *out = (struct store_answer){.status = STORE_FAILED};
    if (counts(&r) && (q = question_new(s, bytes_of(b->name, BUCKET_NAME), done, cookie)) != NULL &&
        start(q, &r, 't', n, extra < r.burst ? extra : r.burst))
        out->status = STORE_PENDING;
    return out->status;
}

static enum store_status redis_spend(struct source *source, const struct bucket *b,
                                     const struct store_budget *budget,
                                     const struct store_spending *what, store_done_fn *done,
                                     void *cookie, struct store_answer *out) {
    struct redis_source *s = (struct redis_source *)source;
    return redis_budgets_spend(&s->budgets, b, budget, what, done, cookie, out);
}

static bool redis_settle(struct source *source, const struct bucket *b,
                         const struct store_rate *rate, bool charge, uint64_t tokens) {
    struct redis_source *s = (struct redis_source *)source;
    struct store_rate r = reduced(rate);
    struct question *q;
    return counts(&r) &&
           (q = question_new(s, bytes_of(b->name, BUCKET_NAME), NULL, NULL)) != NULL &&
           start(q, &r, charge ? 'c' : 'g', tokens < r.burst ? tokens : r.burst, 0);
}

/* By the script, and a write: a server that is full, read-only, loading, or does not let us run
 * scripts still answers PING.  A bucket's probe is another key in its slot. */
static enum store_status redis_ping(struct source *source, const struct bucket *b,
                                    store_done_fn *done, void *cookie) {
    static const struct store_rate rate = {.count = 1, .period_us = 1000, .burst = 1};
    struct redis_source *s = (struct redis_source *)source;
    struct bytes name = b != NULL ? bytes_of(b->name, BUCKET_NAME) : BYTES_LITERAL("probe______");
    struct question *q = question_new(s, name, done, cookie);
    if (q != NULL && b != NULL)
        q->key[q->key_len++] = 'p';
    return q != NULL && start(q, &rate, 'c', 1, 0) ? STORE_PENDING : STORE_FAILED;
}

static void redis_source_cancel(struct source *source, void *cookie) {
    struct redis_source *s = (struct redis_source *)source;
    redis_budgets_cancel(&s->budgets, cookie);
    for (struct list *n = s->asked.next, *next; n != &s->asked; n = next) {
        struct question *q = list_object(n, struct question, link);
        next = n->next;
        if (q->done != NULL && q->cookie == cookie) {
            redis_cancel(s->redis, q);
            question_free(q);
        }
    }
}

static void redis_source_free(struct source *source) {
    struct redis_source *s = (struct redis_source *)source;
    redis_free(s->redis);
    redis_budgets_free(&s->budgets);
    while (!list_empty(&s->asked))
        question_free(list_object(s->asked.next, struct question, link));
    free(s);
}

static const struct source_ops redis_ops = {.ask = redis_ask,
                                            .spend = redis_spend,
                                            .settle = redis_settle,
                                            .ping = redis_ping,
                                            .cancel = redis_source_cancel,
                                            .free = redis_source_free};

struct source *store_redis_new(struct redis *r, uint64_t (*now_us)(void), uint64_t timeout_us) {
    struct redis_source *s = malloc(sizeof(*s));
    unsigned char digest[SHA1_BYTES];
    if (s == NULL) {
        redis_free(r);
        return NULL;
    }
    *s = (struct redis_source){
        .source = {&redis_ops}, .redis = r, .now_us = now_us, .timeout_us = timeout_us};
    list_init(&s->asked);
    redis_budgets_init(&s->budgets, r);
    crypto_sha1(BYTES_LITERAL(script), digest);
    crypto_hex(digest, sizeof(digest), s->sha1);
    return &s->source;
}
