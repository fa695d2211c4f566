/* A rate that was read, written and read again is the same, and a bucket of it
 * keeps its promises at any moments.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "queue/rate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_and_read(const struct settings_rate *rate)
{
    struct settings_rate again = {0};
    struct buf text = {0};

    rate_write(rate, &text);
    CHECK(buf_err(&text) == ERR_OK);
    CHECK(rate_parse(buf_str(&text), &again) == ERR_OK);
    CHECK(again.count == rate->count);
    CHECK(again.period_ms == rate->period_ms);
    buf_fini(&text);
}

/* Each byte is how long until somebody asks again. */
static void walk(const struct settings_rate *rate, struct str steps)
{
    struct rate_bucket bucket = {0};
    uint64_t now_ms = 1;

    rate_set(&bucket, rate, now_ms);
    for (size_t i = 0; i < steps.size; i++) {
        uint64_t due_ms = 0;
        now_ms += UINT64_C(1) << ((unsigned char)steps.data[i] % 28);
        if (!rate_take(&bucket, now_ms, &due_ms)) {
            CHECK(due_ms > now_ms);
            CHECK(due_ms <= now_ms + rate->period_ms);
            CHECK(!rate_take(&bucket, due_ms - 1, &due_ms));
            CHECK(rate_take(&bucket, due_ms, &due_ms));
            now_ms = due_ms;
        }
    }
}

/* A line with the rate, then the steps. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str input = {(const char *)data, size};
    struct settings_rate rate = {0};
    size_t line = str_find(input, '\n');

    if (rate_parse(str_cut(input, 0, line), &rate) == ERR_OK) {
        CHECK(rate.count <= RATE_COUNT_MAX);
        CHECK(rate.period_ms <= RATE_PERIOD_MAX_MS);
        CHECK((rate.count == 0) == (rate.period_ms == 0));
        write_and_read(&rate);
        walk(&rate, str_cut(input, line + 1, input.size));
    }
    return 0;
}
