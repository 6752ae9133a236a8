#include "mask_pool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "mask_rank.h"

#define SUM_NEAR 0.02 /* half floats, and numbers printed with few digits */
#define COLS_MIN 2

/* What is being read, and what is wrong with it. */
struct reader {
    struct arena *arena;
    struct mask_pool *pool;
    double *row; /* of cols */
    struct mask_rank *rank, *spare;
    char *why;
};

#define WHY_MAX 160

static bool refuse(struct reader *r, const char *what) {
    snprintf(r->why, WHY_MAX, "%s", what);
    return false;
}

static bool refuse_row(struct reader *r, uint32_t row, const char *what) {
    snprintf(r->why, WHY_MAX, "row %u: %s", row + 1, what);
    return false;
}

/* ---- Rows ---- */

static bool make_room(struct reader *r, uint64_t rows, uint64_t cols) {
    struct mask_pool *pool = r->pool;
    if (rows == 0 || cols < COLS_MIN)
        return refuse(r, rows == 0 ? "it has no rows" : "a row has fewer than two numbers");
    if (rows > MASK_POOL_VALUES_MAX || cols > MASK_POOL_VALUES_MAX ||
        rows * cols > MASK_POOL_VALUES_MAX)
        return refuse(r, "it holds more numbers than are allowed");
    pool->rows = (uint32_t)rows;
    pool->cols = (uint32_t)cols;
    pool->values = arena_new_array(r->arena, float, rows *cols);
    pool->order = arena_new_array(r->arena, uint32_t, rows);
    r->row = arena_new_array(r->arena, double, cols);
    r->rank = arena_new_array(r->arena, struct mask_rank, cols);
    r->spare = arena_new_array(r->arena, struct mask_rank, cols);
    if (pool->values == NULL || pool->order == NULL || r->row == NULL || r->rank == NULL ||
        r->spare == NULL)
        return refuse(r, "out of memory");
    return true;
}

/* r->row is complete. */
static bool take_row(struct reader *r, uint32_t row) {
    struct mask_pool *pool = r->pool;
    double sum = 0;
    for (uint32_t i = 0; i < pool->cols; i++) {
        if (!(r->row[i] >= 0 && r->row[i] <= 1 + SUM_NEAR))
            return refuse_row(r, row, "a number is no probability");
        sum += r->row[i];
    }
    if (fabs(sum - 1) > SUM_NEAR)
        return refuse_row(r, row, "its numbers do not sum to 1");
    mask_rank_all(r->row, pool->cols, r->rank, r->spare);
    for (uint32_t i = 0; i < pool->cols; i++)
        pool->values[(size_t)row * pool->cols + i] = (float)r->row[r->rank[i].at];
    pool->order[row] = row;
    return true;
}

/* ---- JSON lines ---- */

static void skip_space(struct bytes *s) {
    while (s->len > 0 && (s->at[0] == ' ' || s->at[0] == '\t'))
        *s = bytes_skip(*s, 1);
}

static bool eat(struct bytes *s, char c) {
    skip_space(s);
    if (s->len == 0 || s->at[0] != c)
        return false;
    *s = bytes_skip(*s, 1);
    return true;
}

static size_t digits(struct bytes s) {
    size_t n = 0;
    while (n < s.len && s.at[n] >= '0' && s.at[n] <= '9')
        n++;
    return n;
}

/* How many bytes of s are a JSON number without a sign; 0: it begins with none. */
static size_t number_length(struct bytes s) {
    size_t whole = digits(s), n = whole;
    if (whole == 0 || (whole > 1 && s.at[0] == '0'))
        return 0;
    if (n < s.len && s.at[n] == '.') {
        size_t fraction = digits(bytes_skip(s, n + 1));
        if (fraction == 0)
            return 0;
        n += 1 + fraction;
    }
    if (n < s.len && (s.at[n] == 'e' || s.at[n] == 'E')) {
        size_t sign = n + 1 < s.len && (s.at[n + 1] == '-' || s.at[n + 1] == '+');
        size_t exponent = digits(bytes_skip(s, n + 1 + sign));
        if (exponent == 0)
            return 0;
        n += 1 + sign + exponent;
    }
    return n;
}

static bool read_number(struct bytes *s, double *out) {
    char text[JSON_NUMBER_MAX + 1];
    skip_space(s);
    size_t n = number_length(*s);
    if (n == 0 || n > JSON_NUMBER_MAX)
        return false;
    memcpy(text, s->at, n);
    text[n] = '\0';
    *out = strtod(text, NULL);
    *s = bytes_skip(*s, n);
    return true;
}

static bool read_line(struct reader *r, struct bytes line, uint32_t row) {
    uint32_t cols = r->pool->cols, i = 0;
    if (!eat(&line, '['))
        return refuse_row(r, row, "expected an array of numbers");
    do {
        double v;
        if (!read_number(&line, &v))
            return refuse_row(r, row, "expected a number that is not negative");
        if (i == cols)
            return refuse_row(r, row, "it has more numbers than the first");
        r->row[i++] = v;
    } while (eat(&line, ','));
    if (!eat(&line, ']') || (skip_space(&line), line.len > 0))
        return refuse_row(r, row, "expected ',' or ']' and the end of the line");
    if (i < cols)
        return refuse_row(r, row, "it has fewer numbers than the first");
    return take_row(r, row);
}

static uint64_t count_of(struct bytes s, char c) {
    uint64_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += s.at[i] == c;
    return n;
}

static bool read_json(struct reader *r, struct bytes file) {
    struct bytes all = file;
    if (file.len > 0 && file.at[file.len - 1] == '\n')
        file.len--;
    if (file.len == 0)
        return refuse(r, "it is empty");
    struct bytes first = bytes_cut(&all, '\n');
    if (!make_room(r, count_of(file, '\n') + 1, count_of(first, ',') + 1))
        return false;
    for (uint32_t row = 0; row < r->pool->rows; row++) {
        struct bytes line = bytes_cut(&file, '\n');
        if (line.len > 0 && line.at[line.len - 1] == '\r')
            line.len--;
        if (!read_line(r, line, row))
            return false;
    }
    return true;
}

/* ---- .npy ---- */

#define NPY_MAGIC  "\x93NUMPY"
#define NPY_PREFIX 8 /* the magic, and a version of two bytes */

/* What NumPy writes, key by key in its order, and nothing else. */
static bool eat_text(struct bytes *s, const char *text) {
    skip_space(s);
    if (!bytes_starts(*s, text))
        return false;
    *s = bytes_skip(*s, strlen(text));
    return true;
}

static bool eat_count(struct bytes *s, uint64_t *out) {
    skip_space(s);
    size_t n = digits(*s);
    if (!bytes_to_u64(bytes_of(s->at, n), MASK_POOL_VALUES_MAX, out))
        return false;
    *s = bytes_skip(*s, n);
    return true;
}

static bool read_npy_header(struct bytes h, size_t *size, uint64_t *rows, uint64_t *cols) {
    if (!eat_text(&h, "{'descr':"))
        return false;
    *size = eat_text(&h, "'<f4'") ? sizeof(float) : eat_text(&h, "'<f8'") ? sizeof(double) : 0;
    return *size > 0 && eat_text(&h, ",") && eat_text(&h, "'fortran_order':") &&
           eat_text(&h, "False") && eat_text(&h, ",") && eat_text(&h, "'shape':") &&
           eat_text(&h, "(") && eat_count(&h, rows) && eat_text(&h, ",") && eat_count(&h, cols) &&
           eat_text(&h, ")") && (eat_text(&h, ","), eat_text(&h, "}"));
}

static bool read_npy(struct reader *r, struct bytes file) {
    const unsigned char *at = (const unsigned char *)file.at;
    bool wide = file.len > 6 && at[6] == 2;
    size_t prefix = NPY_PREFIX + (wide ? 4 : 2), size = 0;
    uint64_t rows = 0, cols = 0;
    if (file.len < prefix || at[7] != 0 || (at[6] != 1 && !wide))
        return refuse(r, "expected a .npy file of version 1.0 or 2.0");
    size_t header = at[8] | (size_t)at[9] << 8;
    if (wide)
        header |= (size_t)at[10] << 16 | (size_t)at[11] << 24;
    struct bytes data = bytes_skip(file, prefix);
    if (header > data.len || !read_npy_header(bytes_of(data.at, header), &size, &rows, &cols))
        return refuse(r, "expected a .npy matrix of <f4 or <f8 in C order");
    data = bytes_skip(data, header);
    if (!make_room(r, rows, cols))
        return false;
    if (data.len != rows * cols * size)
        return refuse(r, "its data is not as long as its shape says");
    for (uint32_t row = 0; row < rows; row++) {
        for (uint32_t i = 0; i < cols; i++, data = bytes_skip(data, size)) {
            float narrow;
            if (size == sizeof(double)) {
                memcpy(&r->row[i], data.at, size);
                continue;
            }
            memcpy(&narrow, data.at, size);
            r->row[i] = (double)narrow;
        }
        if (!take_row(r, row))
            return false;
    }
    return true;
}

struct mask_pool *mask_pool_read(struct arena *arena, struct bytes file, char why[WHY_MAX]) {
    struct reader r = {
        .arena = arena, .pool = arena_new_array(arena, struct mask_pool, 1), .why = why};
    if (r.pool == NULL) {
        (void)refuse(&r, "out of memory");
        return NULL;
    }
    r.pool->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    bool npy = bytes_starts(file, NPY_MAGIC);
    return (npy ? read_npy(&r, file) : read_json(&r, file)) ? r.pool : NULL;
}

/* ---- Dealing ---- */

/* One step of Fisher and Yates' shuffle a row: whatever order the last pass left, this pass' is
 * uniform. */
const float *mask_pool_deal(struct mask_pool *pool, struct bits *bits) {
    pthread_mutex_lock(&pool->lock);
    uint32_t at = pool->dealt, from = at + (uint32_t)bits_below(bits, pool->rows - at);
    uint32_t row = pool->order[from];
    pool->order[from] = pool->order[at];
    pool->order[at] = row;
    pool->dealt = at + 1 < pool->rows ? at + 1 : 0;
    pthread_mutex_unlock(&pool->lock);
    return pool->values + (size_t)row * pool->cols;
}

const float *mask_pool_pick(const struct mask_pool *pool, struct bits *bits) {
    return pool->values + (size_t)bits_below(bits, pool->rows) * pool->cols;
}
