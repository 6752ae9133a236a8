#include "codec.h"

#define CODEC(name) extern const struct codec codec_##name;
#include "codecs.def"
#undef CODEC

#define CODEC(name) &codec_##name,
const struct codec *const codecs_all[] = {
#include "codecs.def"
    NULL};
#undef CODEC

const struct codec *codec_named(struct bytes name) {
    for (const struct codec *const *c = codecs_all; *c != NULL; c++)
        if (bytes_is(name, (*c)->name))
            return *c;
    return NULL;
}
