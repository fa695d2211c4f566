/* The known name that is most like one which is not known: what was meant by a
 * slip of the pen.
 *
 *     struct nearest nearest = nearest_of(given);
 *     for each known name: nearest_offer(&nearest, name);
 *     nearest.name is the one to suggest; NULL: none is near
 *
 * '-' and '_' are the same.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_BASE_NEAREST_H
#define OPQ_BASE_NEAREST_H

#include "base/str.h"

#include <stddef.h>

enum {
    NEAREST_SIZE_MAX = 64, /* bytes of a name; longer ones are like none */
    NEAREST_SLIPS_MAX = 3, /* letters put in, left out or wrong */
};

struct nearest {
    struct str given; /* borrowed */
    const char *name; /* borrowed: the best offer; NULL: none is near */
    size_t slips;     /* by which it differs from `given` */
};

/* Begin to look for names that are like `given`. */
struct nearest nearest_of(struct str given);

/* Offer a known name. Of two that are as near the first stays. */
void nearest_offer(struct nearest *nearest, const char *name);

#endif
