/* What a dead letter says is read, or refused; whatever is read lies in the
 * letter or in the memory, and a filter of just that means the letter.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "queue/letters_filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool lies_in(struct str text, struct str in)
{
    return text.size == 0 ||
           (text.data >= in.data && text.data + text.size <= in.data + in.size);
}

static void check_text(struct str text, struct str letter, struct str memory)
{
    CHECK(lies_in(text, letter) || lies_in(text, memory));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str letter = {(const char *)data, size};
    struct letters_end end = {0};
    struct letters_filter filter = {0};
    struct buf memory = {0};

    enum err err = letters_filter_read(letter, &memory, &end);
    CHECK(err == ERR_OK || err == ERR_INVALID);
    if (err == ERR_OK) {
        check_text(end.reason, letter, buf_str(&memory));
        check_text(end.class, letter, buf_str(&memory));
        check_text(end.subscription, letter, buf_str(&memory));
        filter = (struct letters_filter){
            .one = true,
            .sequence = 7,
            .reason = end.reason,
            .class = end.class,
            .subscription = end.subscription,
            .from_ms = end.at_ms,
        };
        CHECK(letters_filter_match(&filter, 7, &end));
        CHECK(!letters_filter_match(&filter, 8, &end));
        filter.by_status = true;
        filter.status_last = LETTERS_STATUS_MAX;
        CHECK(letters_filter_match(&filter, 7, &end) ==
              (end.has_status && end.status <= LETTERS_STATUS_MAX));
    }
    err = letters_filter_status(&filter, letter);
    CHECK(err != ERR_OK || (filter.status_first <= filter.status_last &&
                            filter.status_last <= LETTERS_STATUS_MAX));
    buf_fini(&memory);
    return 0;
}
