/* A schedule and a list of statuses mean the same whether they are read to be
 * checked or to be used. Each input is read as both.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "queue/retry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_schedule(struct str text)
{
    enum err err = retry_schedule_check(text);
    uint64_t last_ms = 0;

    for (uint32_t failures = 1; failures <= RETRY_SCHEDULE_MAX; failures++) {
        uint64_t delay_ms = 0;
        enum err step = retry_schedule_ms(text, failures, &delay_ms);
        CHECK(err != ERR_OK || step == ERR_OK);
        CHECK((step == ERR_OK) == (delay_ms > 0));
        last_ms = delay_ms;
    }
    uint64_t delay_ms = 0;
    CHECK(retry_schedule_ms(text, UINT32_MAX, &delay_ms) == err);
    CHECK(err != ERR_OK || delay_ms == last_ms);
}

static void read_list(struct str text)
{
    int named = 0;

    if (retry_status_list_check(text) != ERR_OK) {
        CHECK(!retry_status_list_has(text, 400));
        CHECK(!retry_status_list_has(text, 599));
        return;
    }
    for (int status = RETRY_STATUS_FIRST; status <= RETRY_STATUS_LAST;
         status++) {
        named += retry_status_list_has(text, status) ? 1 : 0;
    }
    CHECK(named > 0);
    CHECK(!retry_status_list_has(text, RETRY_STATUS_FIRST - 1));
    CHECK(!retry_status_list_has(text, RETRY_STATUS_LAST + 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};

    read_schedule(text);
    read_list(text);
    return 0;
}
