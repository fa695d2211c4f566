/* A note of delayed messages that was read is written again as the same bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "queue/delayed_note.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Write the note's numbers anew, where they are few enough. */
static void check_again(const struct delayed_note *note, struct str bytes)
{
    static uint64_t sequences[DELAYED_NOTE_COUNT_MAX];
    static char again[DELAYED_NOTE_SIZE_MAX];
    uint32_t count = 0;

    for (uint32_t index = 0; index < note->count; index++) {
        struct store_range range = delayed_note_range(note, index);
        if (range.end - range.first > DELAYED_NOTE_COUNT_MAX - count) {
            return;
        }
        for (uint64_t at = range.first; at < range.end; at++) {
            sequences[count] = at;
            count++;
        }
    }
    size_t size = delayed_note_write(note->kind, sequences, count, again);
    CHECK(size == bytes.size && memcmp(again, bytes.data, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str bytes = {(const char *)data, size};
    struct delayed_note note;
    enum err err = delayed_note_read(bytes, &note);

    CHECK(err == ERR_OK || err == ERR_CORRUPT);
    if (err == ERR_OK) {
        check_again(&note, bytes);
    }
    return 0;
}
