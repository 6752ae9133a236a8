#include "../proxy/filter.h"

#define FILTER(name) extern const struct filter filter_##name;
#include "filters.def"
#undef FILTER

#define FILTER(name) &filter_##name,
const struct filter *const filters_all[] = {
#include "filters.def"
    NULL};
#undef FILTER

const struct filter *filter_named(struct bytes name) {
    for (const struct filter *const *f = filters_all; *f != NULL; f++)
        if (bytes_is(name, (*f)->name))
            return *f;
    return NULL;
}
