/* A segment as the loop sees it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/topic_segment.h"

#include "base/check.h"
#include "base/diag.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <inttypes.h>
#include <stdlib.h>

struct topic_segment *topic_segment_create(uint64_t first)
{
    struct topic_segment *segment = malloc(sizeof(*segment));
    if (segment != NULL) {
        *segment = (struct topic_segment){
            .first = first,
            .end = first,
            .size = SEGMENT_HEAD_SIZE,
            .fd = -1,
        };
    }
    return segment;
}

void topic_segment_destroy(struct topic_segment *segment)
{
    if (segment == NULL) {
        return;
    }
    CHECK(!list_linked(&segment->link));
    topic_segment_close(segment);
    free(segment);
}

void topic_segment_close(struct topic_segment *segment)
{
    file_close(segment->fd);
    segment->fd = -1;
    index_unmap(&segment->map);
}

enum err topic_segment_open(struct topic_segment *segment,
                            const char *directory)
{
    if (segment->fd >= 0) {
        return ERR_OK;
    }
    uint64_t size = 0;
    enum err err =
        segment_open(directory, segment->first, false, &segment->fd, &size);
    if (err != ERR_CORRUPT) {
        return err;
    }
    DIAG_WARN("segment_head_damaged", "path=%s/%" PRIu64 ".msg", directory,
              segment->first);
    char path[DIR_PATH_MAX];
    err = segment_path(path, directory, segment->first, false);
    if (err != ERR_OK) {
        return err;
    }
    return file_open(path, FILE_READ, &segment->fd);
}

/* Take over what index_load() or index_build() made: as a mapping of the file
 * if that can be, else as it is in memory. */
static void take_content(struct topic_segment *segment,
                         const struct index_segment *about,
                         struct index_content *content,
                         bool mend)
{
    if (!content->in_order && mend) {
        enum err stored = index_store(about, content);
        DIAG_INFO("index_mended",
                  "path=%s/%" PRIu64 ".idx entries=%" PRIu32 " err=%s",
                  about->directory, about->first, content->builder.count,
                  err_text(stored));
    }
    index_unmap(&segment->map);
    segment->has_index = content->in_order;
    segment->index_count = content->builder.count;
    segment->time_max = content->builder.time_max;
    segment->has_time = true;
    if (!content->in_order) {
        segment->map = (struct index_map){
            .entries = content->entries,
            .count = content->builder.count,
        };
        content->entries = NULL; /* moved */
    }
}

static enum err look_at_index(struct topic_segment *segment,
                              const char *directory,
                              bool anew,
                              bool mend)
{
    struct index_segment about = {
        .directory = directory,
        .first = segment->first,
        .end = segment->end,
        .size = segment->size,
        .fd = segment->fd,
        .exact = segment->exact,
    };
    struct index_content content;
    enum err err =
        anew ? index_build(&about, &content) : index_load(&about, &content);
    if (err == ERR_OK) {
        take_content(segment, &about, &content, mend);
        index_content_fini(&content);
    }
    return err;
}

enum err topic_segment_open_index(struct topic_segment *segment,
                                  const char *directory,
                                  bool mend)
{
    enum err err = topic_segment_open(segment, directory);
    if (err != ERR_OK) {
        return err;
    }
    if (segment->map.count == segment->index_count &&
        segment->map.entries != NULL) {
        return ERR_OK;
    }
    if (segment->has_index) {
        index_unmap(&segment->map);
        err = index_map_open(directory, segment->first, segment->index_count,
                             &segment->map);
        if (err != ERR_NOT_FOUND && err != ERR_CORRUPT) {
            return err;
        }
        segment->has_index = false; /* it was in order: somebody was at it */
    }
    err = look_at_index(segment, directory, false, mend);
    if (err == ERR_OK && segment->has_index) {
        err = index_map_open(directory, segment->first, segment->index_count,
                             &segment->map);
    }
    return err == ERR_CORRUPT || err == ERR_NOT_FOUND ? ERR_IO : err;
}

enum err topic_segment_rebuild(struct topic_segment *segment,
                               const char *directory,
                               bool mend)
{
    enum err err = topic_segment_open(segment, directory);
    if (err == ERR_OK) {
        segment->has_index = false;
        index_unmap(&segment->map); /* before its file is cut */
        err = look_at_index(segment, directory, true, mend);
    }
    if (err == ERR_OK && segment->has_index) {
        err = index_map_open(directory, segment->first, segment->index_count,
                             &segment->map);
    }
    return err == ERR_CORRUPT || err == ERR_NOT_FOUND ? ERR_IO : err;
}
