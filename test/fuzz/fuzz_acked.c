/* Fuzz log/acked_page: the bytes as a page, which, when it is whole, is one
 * that can be added to; the bytes as a row of runs to be noted, after each of
 * which the page is whole and has just those; and as the name of a file.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "log/acked_file.h"
#include "log/acked_page.h"

#include <stdint.h>
#include <string.h>

static _Alignas(8) char page[ACKED_PAGE_SIZE];
static bool model[ACKED_PAGE_MESSAGES];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Walk over the runs of a page; they ascend and do not touch. */
static void check_runs(void)
{
    uint32_t at = acked_page_find(page, 0, true);
    while (at < ACKED_PAGE_MESSAGES) {
        uint32_t end = acked_page_find(page, at, false);
        CHECK(end > at && end <= ACKED_PAGE_MESSAGES);
        at = acked_page_find(page, end, true);
        CHECK(at > end || at == ACKED_PAGE_MESSAGES);
    }
}

/* The bytes as a page, zeros behind them. */
static void check_bytes(const uint8_t *data, size_t size)
{
    struct acked_page_key key;
    struct acked_page_key again;
    memset(page, 0, sizeof(page));
    memcpy(page, data, size < sizeof(page) ? size : sizeof(page));
    check_runs();
    if (!acked_page_read(page, &key)) {
        return;
    }
    CHECK(!acked_page_is_empty(page) && acked_page_number(page) == key.number);
    acked_page_mend(page, &key);
    acked_page_set(page, &key, 7, 700);
    CHECK(acked_page_read(page, &again) && again.epoch == key.epoch);
    CHECK(acked_page_find(page, 7, false) >= 700);
    page[ACKED_PAGE_SIZE - 1] ^= 1; /* a flip is found */
    CHECK(!acked_page_read(page, &again));
}

/* Each four bytes as a run: where it begins, and how long it is. */
static void check_work(const uint8_t *data, size_t size)
{
    const struct acked_page_key key = {
        .topic_id = 0x1f0c6b2a9d3e4f50, .epoch = 3, .number = size};
    struct acked_page_key found;
    memset(page, 0, sizeof(page));
    memset(model, 0, sizeof(model));
    acked_page_begin(page, &key);
    for (size_t at = 0; at + 4 <= size && at < 64; at += 4) {
        uint32_t first =
            (uint32_t)(data[at] << 8 | data[at + 1]) % ACKED_PAGE_MESSAGES;
        uint32_t end = first + (uint32_t)(data[at + 2] << 8 | data[at + 3]);
        end = end < ACKED_PAGE_MESSAGES ? end : ACKED_PAGE_MESSAGES;
        acked_page_set(page, &key, first, end);
        memset(model + first, true, end - first);
        CHECK(acked_page_read(page, &found));
        CHECK(found.topic_id == key.topic_id && found.epoch == key.epoch &&
              found.number == key.number);
    }
    uint32_t next = ACKED_PAGE_MESSAGES;
    for (uint32_t i = ACKED_PAGE_MESSAGES; i > 0; i--) {
        next = model[i - 1] ? i - 1 : next;
        CHECK(acked_page_find(page, i - 1, true) == next);
    }
}

static void check_name(const uint8_t *data, size_t size)
{
    char name[256] = {0};
    char path[DIR_PATH_MAX];
    struct str topic;
    uint64_t id = 0;
    memcpy(name, data, size < sizeof(name) - 1 ? size : sizeof(name) - 1);
    if (acked_file_parse(name, &topic, &id)) {
        CHECK(topic.size > 0 && topic.size < strlen(name));
        CHECK(acked_file_path(path, "d", topic, id) == ERR_OK);
        CHECK(strcmp(path + strlen("d/acked/"), name) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_bytes(data, size);
    check_work(data, size);
    check_name(data, size);
    return 0;
}
