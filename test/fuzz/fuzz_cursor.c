/* Fuzz log/topic_cursor and the body of TOPIC entries: the first half of the
 * bytes and the second as cursors, which, when they are any, are written again
 * to the same bytes, and brought together to one that is valid and says all
 * that either does; and all of them as the body of an entry.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "log/topic_conf.h"
#include "log/topic_cursor.h"

#include <stdlib.h>
#include <string.h>

static struct topic_cursor first;
static struct topic_cursor second;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Read it, and write it again. */
static bool read_cursor(struct str bytes, struct topic_cursor *out)
{
    static char again[TOPIC_CURSOR_SIZE_MAX];
    size_t size = 0;
    if (!topic_cursor_read(bytes, out, &size)) {
        return false;
    }
    CHECK(size <= bytes.size && topic_cursor_valid(out));
    if (topic_cursor_size(out) == size) { /* else it said that it has none */
        topic_cursor_write(out, again);
        CHECK(memcmp(again, bytes.data, size) == 0);
    }
    return true;
}

/* Tell whether a cursor says that a message was acknowledged. */
static bool says(const struct topic_cursor *cursor, uint64_t sequence)
{
    bool said = sequence < cursor->next;
    for (uint32_t i = 0; i < cursor->range_count; i++) {
        said = said || (sequence >= cursor->ranges[i].first &&
                        sequence < cursor->ranges[i].end);
    }
    return said;
}

static void check_merge(void)
{
    struct topic_cursor both = first;
    (void)topic_cursor_merge(&both, &second);
    CHECK(topic_cursor_valid(&both) || first.epoch > second.epoch);
    CHECK(both.epoch ==
          (first.epoch > second.epoch ? first.epoch : second.epoch));
    if (first.epoch != second.epoch ||
        first.range_count + second.range_count > TOPIC_RANGES_MAX) {
        return;
    }
    CHECK(both.next >= first.next && both.next >= second.next);
    for (uint32_t i = 0; i < first.range_count; i++) {
        CHECK(says(&both, first.ranges[i].first));
        CHECK(says(&both, first.ranges[i].end - 1));
    }
    for (uint32_t i = 0; i < second.range_count; i++) {
        CHECK(says(&both, second.ranges[i].first));
        CHECK(says(&both, second.ranges[i].end - 1));
    }
}

static void check_entry(struct str bytes)
{
    struct topic_conf conf;
    if (topic_conf_body_read(bytes, &conf) != ERR_OK) {
        return;
    }
    struct topic_conf found;
    size_t size = topic_conf_body_size(&conf);
    CHECK(size <= bytes.size);
    char *again = malloc(size);
    CHECK(again != NULL);
    topic_conf_body_write(&conf, again);
    CHECK(topic_conf_body_read((struct str){again, size}, &found) == ERR_OK);
    CHECK(found.parent == conf.parent && found.start == conf.start);
    CHECK(found.loose == conf.loose && found.made == conf.made);
    CHECK(str_equal(found.name, conf.name));
    CHECK(str_equal(found.settings, conf.settings));
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str bytes = {(const char *)data, size};
    struct str left = str_cut(bytes, 0, size / 2);
    struct str right = str_cut(bytes, size / 2, size);
    check_entry(bytes);
    if (read_cursor(left, &first) && read_cursor(right, &second)) {
        check_merge();
    }
    return 0;
}
