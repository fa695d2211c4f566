/* Fuzz base/cron: what is taken has a next time, which is after the one asked
 * about and is the same when asked from just before it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "base/cron.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fits(const struct cron *cron, const struct zone *zone, uint64_t ms)
{
    struct zone_time time = zone_time_of(zone, (int64_t)(ms / 1000));

    CHECK(ms % 1000 == 0);
    if (cron->every_ms != 0) {
        CHECK(ms % cron->every_ms == 0);
        return;
    }
    CHECK((cron->seconds >> time.second & 1) != 0);
    CHECK((cron->minutes >> time.minute & 1) != 0);
    CHECK((cron->hours >> time.hour & 1) != 0);
    CHECK((cron->months >> time.month & 1) != 0);
    CHECK(cron->either_day || (cron->days >> time.day & 1) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t asked[] = {0, 951868799999, 1774746000000,
                                     4107542399000, 200000000000000};
    const char *reason = NULL;
    struct zone *zone = NULL;
    struct cron cron;

    if (cron_parse((struct str){(const char *)data, size}, &cron, &reason) !=
        ERR_OK) {
        CHECK(reason != NULL);
        return 0;
    }
    CHECK(zone_create_utc(&zone) == ERR_OK);
    for (unsigned index = 0; index < sizeof(asked) / sizeof(asked[0]);
         index++) {
        uint64_t next_ms = 0;
        uint64_t again_ms = 0;
        CHECK(cron_next(&cron, zone, asked[index], &next_ms));
        CHECK(next_ms > asked[index]);
        fits(&cron, zone, next_ms);
        CHECK(cron_next(&cron, zone, next_ms - 1, &again_ms));
        CHECK(again_ms == next_ms);
    }
    zone_destroy(zone);
    return 0;
}
