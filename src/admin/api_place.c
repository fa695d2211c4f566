/* A place in a topic's log, as requests name it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_place.h"

#include "base/wall_time.h"

enum err api_place_read(struct str text, struct api_place *out_place)
{
    struct api_place place = {.kind = API_PLACE_NEW};

    if (str_equal(text, STR("oldest"))) {
        place.kind = API_PLACE_OLDEST;
    } else if (str_to_u64(text, &place.value) == ERR_OK) {
        place.kind = API_PLACE_SEQUENCE;
    } else if (wall_time_parse(text, &place.value) == ERR_OK) {
        place.kind = API_PLACE_TIME;
    } else if (!str_equal(text, STR("new"))) {
        return ERR_INVALID;
    }
    *out_place = place;
    return ERR_OK;
}

enum err api_place_find(const struct api_place *place,
                        struct store_topic *topic,
                        uint64_t *out_sequence)
{
    const struct store_bounds *bounds = &topic->bounds;

    switch (place->kind) {
    case API_PLACE_OLDEST:
        *out_sequence = bounds->oldest;
        return ERR_OK;
    case API_PLACE_SEQUENCE:
        if (place->value < bounds->oldest || place->value > bounds->end) {
            return ERR_RANGE;
        }
        *out_sequence = place->value;
        return ERR_OK;
    case API_PLACE_TIME:
        return store_find_time(topic, place->value, out_sequence);
    default:
        *out_sequence = bounds->end;
        return ERR_OK;
    }
}
