/* input_limits.c - how much one request may ask, and within which ranges. */
#include <float.h>
#include <math.h>
#include <stdio.h>

#include "../proxy/base/require.h"
#include "../proxy/filter.h"

struct input {
    struct bytes name;
    double low, high;
};

struct conf {
    uint64_t rows, elements, bytes; /* 0: no limit */
    struct option_list inputs;      /* of struct input */
};

static const struct option input_options[] = {
    {.name = "low",
     .type = OPTION_REAL,
     .offset = offsetof(struct input, low),
     .min = -1e300,
     .max = 1e300,
     .required = true,
     .says = "The least value that is let through."},
    {.name = "high",
     .type = OPTION_REAL,
     .offset = offsetof(struct input, high),
     .min = -1e300,
     .max = 1e300,
     .required = true,
     .says = "The greatest value that is let through."},
    {.type = OPTION_END},
};

static const struct option options[] = {
    {.name = "rows",
     .type = OPTION_COUNT,
     .offset = offsetof(struct conf, rows),
     .min = 1,
     .max = 1e9,
     .says = "The most rows (queries of a batch) in one request; more is 413."},
    {.name = "elements",
     .type = OPTION_COUNT,
     .offset = offsetof(struct conf, elements),
     .min = 1,
     .max = 1e12,
     .says = "The most elements of all inputs of one request together; more is 413."},
    {.name = "bytes",
     .type = OPTION_SIZE,
     .offset = offsetof(struct conf, bytes),
     .min = 1,
     .says = "The most bytes of all inputs together, in binary form, whatever form they came in; "
             "more is 413."},
    {.name = "inputs",
     .type = OPTION_MAP,
     .offset = offsetof(struct conf, inputs),
     .min = 1,
     .max = TENSORS_MAX,
     .rows = input_options,
     .element_size = sizeof(struct input),
     .says = "Ranges by input name: an element outside [low, high], or one that is no number, is "
             "400. Inputs without a row are not looked at."},
    {.type = OPTION_END},
};

static bool check(void *at, struct conf_error *error) {
    struct conf *conf = at;
    const struct input *inputs = conf->inputs.at;
    if (conf->rows == 0 && conf->elements == 0 && conf->bytes == 0 && conf->inputs.count == 0) {
        error->option = NULL;
        snprintf(error->text, sizeof(error->text),
                 "give at least one of 'rows', 'elements', 'bytes' and 'inputs'");
        return false;
    }
    for (uint32_t i = 0; i < conf->inputs.count; i++)
        if (inputs[i].low > inputs[i].high) {
            error->option = "inputs";
            snprintf(error->text, sizeof(error->text), "%.*s: low %g is above high %g",
                     (int)(inputs[i].name.len < 100 ? inputs[i].name.len : 100), inputs[i].name.at,
                     inputs[i].low, inputs[i].high);
            return false;
        }
    return true;
}

/* The bound as a tensor of that type would hold it: a client that sends 0.1 as FP32 means 0.1. */
static double held_as(enum dtype type, double bound) {
    char data[sizeof(double)];
    struct tensor t = {.dtype = type, .elements = 1, .data = {data, sizeof(data)}};
    if (!dtype_is_float(type))
        return bound;
    dtype_write(type, bound, data);
    double held = tensor_number(&t, 0);
    return isfinite(held) ? held : bound;
}

typedef float floats __attribute__((vector_size(16)));
typedef int32_t masks __attribute__((vector_size(16))); /* -1 where a comparison holds, else 0 */

/* Images are 10^5 of these: four at a time, without a branch. */
static bool floats_within(const struct tensor *t, double low, double high) {
    float least = (float)fmax(low, -FLT_MAX), most = (float)fmin(high, FLT_MAX);
    floats v, lows = {least, least, least, least}, highs = {most, most, most, most};
    masks ok = {-1, -1, -1, -1};
    const char *at = t->data.at;
    require(t->elements <= t->data.len / sizeof(float));
    const char *end = at + t->elements * sizeof(float);
    for (; (size_t)(end - at) >= sizeof(v); at += sizeof(v)) {
        memcpy(&v, at, sizeof(v));
        ok &= (v >= lows) & (v <= highs);
    }
    v = lows; /* fills up the last few */
    if (end != at)
        memcpy(&v, at, (size_t)(end - at));
    ok &= (v >= lows) & (v <= highs);
    return (ok[0] & ok[1] & ok[2] & ok[3]) != 0;
}

/* NaN, and with it every element of a BYTES tensor, is within nothing. */
static bool within(const struct tensor *t, const struct input *range) {
    double low = held_as(t->dtype, range->low), high = held_as(t->dtype, range->high);
    if (t->elements == 0)
        return true;
    if (t->dtype == DTYPE_FP32)
        return floats_within(t, low, high);
    for (uint64_t i = 0; i < t->elements; i++) {
        double v = tensor_number(t, i);
        if (!(v >= low && v <= high))
            return false;
    }
    return true;
}

static const struct input *range_of(const struct conf *conf, struct bytes name) {
    const struct input *inputs = conf->inputs.at;
    for (uint32_t i = 0; i < conf->inputs.count; i++)
        if (bytes_eq(inputs[i].name, name))
            return &inputs[i];
    return NULL;
}

static uint64_t bytes_of_inputs(const struct query *q) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < q->input_count; i++)
        sum += q->inputs[i].data.len;
    return sum;
}

static struct verdict on_query(struct filter_call *call) {
    const struct conf *conf = call->conf;
    const struct query *q = call->query;
    if (conf->rows > 0 && q->rows > conf->rows)
        return verdict_deny(413, "too many rows in one request");
    if (conf->elements > 0 && q->elements > conf->elements)
        return verdict_deny(413, "too many elements in one request");
    if (conf->bytes > 0 && bytes_of_inputs(q) > conf->bytes)
        return verdict_deny(413, "too many input bytes in one request");
    for (uint32_t i = 0; i < q->input_count; i++) {
        const struct input *range = range_of(conf, q->inputs[i].name);
        if (range != NULL && !within(&q->inputs[i], range))
            return verdict_deny(400, "input value out of range");
    }
    return verdict_pass();
}

static void explain(const void *at, struct buf *out) {
    const struct conf *conf = at;
    const struct input *inputs = conf->inputs.at;
    if (conf->rows > 0)
        buf_printf(out, "- at most %llu rows in a request\n", (unsigned long long)conf->rows);
    if (conf->elements > 0)
        buf_printf(out, "- at most %llu elements in a request\n",
                   (unsigned long long)conf->elements);
    if (conf->bytes > 0)
        buf_printf(out, "- at most %llu bytes of inputs in a request\n",
                   (unsigned long long)conf->bytes);
    for (uint32_t i = 0; i < conf->inputs.count; i++) {
        buf_add_str(out, "- every element of ");
        buf_add_bytes(out, inputs[i].name);
        buf_printf(out, " is within [%g, %g]\n", inputs[i].low, inputs[i].high);
    }
    if (conf->inputs.count > 0)
        buf_add_str(out, "- a range keeps out inputs that no client would send, such as those of "
                         "crude searches; it does not tell an attacker's plausible input from "
                         "anyone's\n");
}

const struct filter filter_input_limits = {
    .name = "input_limits",
    .says = "Refuses requests that are too large, or whose inputs are out of range.",
    .needs = NEEDS_QUERY,
    .options = options,
    .conf_size = sizeof(struct conf),
    .check = check,
    .explain = explain,
    .on_query = on_query,
};
