#include "randomness.h"

#include "policy.h"

bool random_open(struct random_place *r) {
    *r = (struct random_place){.fresh = fresh_stream_new(), .keyed = keyed_stream_new()};
    if (r->fresh != NULL && r->keyed != NULL)
        return true;
    random_close(r);
    return false;
}

void random_close(struct random_place *r) {
    fresh_stream_free(r->fresh);
    keyed_stream_free(r->keyed);
    pools_free(&r->pools);
    *r = (struct random_place){.fresh = NULL};
}

void random_begin(struct exchange_random *e, struct random_place *place,
                  const struct noise_conf *conf, uint64_t now_s) {
    bool old = conf->previous_len > 0 && now_s < conf->since_s;
    struct bytes key =
        old ? bytes_of(conf->previous, conf->previous_len) : bytes_of(conf->key, conf->key_len);
    keyed_source_init(&e->source, place->keyed, key);
    e->view = (struct randomness){
        .fresh = place->fresh, .sticky = &e->source.source, .pools = &place->pools};
}
