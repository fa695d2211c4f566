/* The known name that is most like a given one.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/nearest.h"

#include <stdbool.h>

static char plain(char byte)
{
    return byte == '-' ? '_' : byte;
}

/* Edit distance of two short names (Levenshtein), by rows. */
static size_t distance(struct str name, struct str given)
{
    size_t row[NEAREST_SIZE_MAX + 1];

    if (given.size > NEAREST_SIZE_MAX || name.size > NEAREST_SIZE_MAX) {
        return NEAREST_SIZE_MAX;
    }
    for (size_t index = 0; index <= name.size; index++) {
        row[index] = index;
    }
    for (size_t line = 1; line <= given.size; line++) {
        size_t corner = row[0];
        row[0] = line;
        for (size_t index = 1; index <= name.size; index++) {
            size_t above = row[index];
            bool same =
                plain(name.data[index - 1]) == plain(given.data[line - 1]);
            size_t best = corner + (same ? 0 : 1);
            best = above + 1 < best ? above + 1 : best;
            best = row[index - 1] + 1 < best ? row[index - 1] + 1 : best;
            row[index] = best;
            corner = above;
        }
    }
    return row[name.size];
}

struct nearest nearest_of(struct str given)
{
    return (struct nearest){.given = given, .slips = NEAREST_SLIPS_MAX + 1};
}

void nearest_offer(struct nearest *nearest, const char *name)
{
    size_t slips = distance(str_from(name), nearest->given);

    if (slips < nearest->slips) {
        nearest->slips = slips;
        nearest->name = name;
    }
}
