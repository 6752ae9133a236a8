/* admin.h - the pages of the admin listener: /healthz /readyz /metrics /config. */
#ifndef QG_ADMIN_H
#define QG_ADMIN_H

#include "front.h"

extern const struct front_handler admin_handler;

#endif
