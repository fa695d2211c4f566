/* Fuzz queue/schedule: a definition that is taken reads the same again from
 * the message that keeps it, and so does its push.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "queue/schedule.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct recorder *recorder;

static void read_again(const struct schedule_definition *first)
{
    struct schedule_definition second;
    const struct schedule_state written = {.since_ms = 5, .run_count = 7};
    struct schedule_state read;
    struct schedule_message kept;
    struct push_refusal refusal;

    schedule_message_make(first, &written, 9, &kept);
    CHECK(schedule_message_read(&kept.message, &read) == ERR_OK);
    CHECK(read.since_ms == 5 && read.run_count == 7);
    CHECK(schedule_definition_read(kept.message.body, &second, &refusal) ==
          ERR_OK);
    CHECK(strcmp(first->cron_text, second.cron_text) == 0);
    CHECK(strcmp(first->zone, second.zone) == 0);
    CHECK(first->missed == second.missed && first->paused == second.paused);
    schedule_definition_fini(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct recorder_options options = {.durability = DURABILITY_DISK};
    struct schedule_definition definition;
    struct push_refusal refusal = {0};
    struct push push;

    if (recorder == NULL) {
        CHECK(recorder_create(&options, &recorder) == ERR_OK);
    }
    enum err err = schedule_definition_read(
        (struct str){(const char *)data, size}, &definition, &refusal);
    if (err != ERR_OK) {
        CHECK(err == ERR_INVALID && refusal.status >= 400);
        return 0;
    }
    read_again(&definition);
    err = schedule_read_push(&definition, recorder, 1, &push, &refusal);
    if (err == ERR_OK) {
        CHECK(store_topic_name_valid(push.topic));
    } else {
        CHECK(err == ERR_INVALID && refusal.status >= 400);
    }
    schedule_definition_fini(&definition);
    return 0;
}
