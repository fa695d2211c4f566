/* Memory set aside for records that must not be lost for want of it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/tail_reserve.h"

#include "base/check.h"

#include <stdlib.h>

enum { PIECE_ALIGNMENT = 16 };

enum err tail_reserve_init(struct tail_reserve *reserve, size_t size)
{
    *reserve = (struct tail_reserve){0};
    reserve->memory = malloc(size);
    if (reserve->memory == NULL) {
        return ERR_NOMEM;
    }
    reserve->size = size;
    return ERR_OK;
}

void tail_reserve_fini(struct tail_reserve *reserve)
{
    CHECK(reserve->count == 0);
    free(reserve->memory);
    *reserve = (struct tail_reserve){0};
}

void *tail_reserve_take(struct tail_reserve *reserve, size_t size)
{
    size_t left = reserve->size - reserve->used;
    if (size > left) {
        return NULL;
    }
    size_t whole =
        (size + PIECE_ALIGNMENT - 1) & ~(size_t)(PIECE_ALIGNMENT - 1);
    char *piece = reserve->memory + reserve->used;
    reserve->used += whole < left ? whole : left;
    reserve->count++;
    return piece;
}

void tail_reserve_give(struct tail_reserve *reserve)
{
    CHECK(reserve->count > 0);
    reserve->count--;
    if (reserve->count == 0) {
        reserve->used = 0;
    }
}

bool tail_reserve_used(const struct tail_reserve *reserve)
{
    return reserve->count > 0;
}
