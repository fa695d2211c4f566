/* The contract of a store, over the local one.
 *
 * SPDX-License-Identifier: MIT
 */
#include "contract/store_contract.h"
#include "lib/store_place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void *local_create(void)
{
    struct store_place *place = calloc(1, sizeof(*place));
    assert_non_null(place);
    store_place_create(place);
    return place;
}

static void local_destroy(void *place)
{
    store_place_destroy(place);
    free(place);
}

static enum err local_open(void *context, struct io *io, struct store **out)
{
    struct store_place *place = context;
    enum err err = store_place_open(place, io);
    if (err == ERR_OK) {
        *out = place->store;
    }
    return err;
}

static void local_closed(void *context)
{
    struct store_place *place = context;
    assert_int_equal(place->fatal_count, 0);
    store_local_release(place->data);
    place->data = NULL;
    place->store = NULL;
}

static void local_crash(void *place)
{
    store_place_crash(place);
}

int main(void)
{
    static const struct store_contract contract = {
        .create = local_create,
        .destroy = local_destroy,
        .open = local_open,
        .closed = local_closed,
        .crash = local_crash,
    };
    return store_contract_run(&contract);
}
