/* Fuzz base/zone: bytes that are taken for a zone answer without contradicting
 * themselves, and cron finds its way through their jumps.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "base/cron.h"
#include "base/zone.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(const struct zone *zone, int64_t second)
{
    struct zone_span span = zone_span_of(zone, second);
    struct zone_time time = zone_time_of(zone, second);
    int64_t seconds[ZONE_ANSWERS_MAX];

    CHECK(second >= span.start && second < span.end);
    unsigned count = zone_seconds_of(zone, &time, seconds);
    CHECK(count >= 1);
    CHECK(seconds[0] <= second);
    for (unsigned index = 0; index < count; index++) {
        struct zone_time again = zone_time_of(zone, seconds[index]);
        CHECK(again.day == time.day && again.hour == time.hour &&
              again.minute == time.minute && again.second == time.second);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int64_t asked[] = {ZONE_SECOND_MIN, -1,         0,
                                    1000000000,      1774746000, 4000000000,
                                    ZONE_SECOND_MAX};
    struct zone *zone = NULL;
    const char *reason = NULL;
    struct cron cron;

    if (zone_create((struct str){(const char *)data, size}, &zone) != ERR_OK) {
        CHECK(zone == NULL);
        return 0;
    }
    for (unsigned index = 0; index < sizeof(asked) / sizeof(asked[0]);
         index++) {
        ask(zone, asked[index]);
    }
    CHECK(cron_parse(STR("30 2 29 2 *"), &cron, &reason) == ERR_OK);
    uint64_t at_ms = 0;
    for (int index = 0; index < 10; index++) {
        uint64_t next_ms = 0;
        if (!cron_next(&cron, zone, at_ms, &next_ms)) {
            break;
        }
        CHECK(next_ms > at_ms);
        at_ms = next_ms;
        ask(zone, (int64_t)(at_ms / 1000));
    }
    zone_destroy(zone);
    return 0;
}
