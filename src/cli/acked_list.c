/* What is acknowledged above a cursor.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/acked_list.h"

#include "base/str.h"
#include "log/acked_file.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <stddef.h>

/* Bring ranges and what the file has together, in order. */
static enum err merge(const struct topic_cursor *cursor,
                      const struct acked_file *file,
                      struct topic_gaps *to)
{
    enum err err = ERR_OK;
    uint32_t index = 0;
    struct topic_range run = {0, 0};
    bool has = acked_file_next(file, cursor->next, &run);

    if (!has) {
        return ERR_OK; /* passed: the ranges say it all */
    }
    while (err == ERR_OK && (has || index < cursor->range_count)) {
        const struct topic_range *range = &cursor->ranges[index];
        if (!has ||
            (index < cursor->range_count && range->first <= run.first)) {
            err = topic_gaps_add(to, range->first, range->end);
            index++;
        } else {
            err = topic_gaps_add(to, run.first, run.end);
            has = acked_file_next(file, run.end, &run);
        }
    }
    return err;
}

enum err acked_list_load(const char *directory,
                         const char *topic,
                         uint64_t id,
                         const struct topic_cursor *cursor,
                         struct topic_gaps *out)
{
    char path[DIR_PATH_MAX];
    struct acked_file *file = NULL;
    struct topic_gaps list = {0};

    enum err err = acked_file_path(path, directory, str_from(topic), id);
    if (err == ERR_OK) {
        err = acked_file_look(path, id, cursor->epoch, &file);
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    if (err == ERR_OK && file != NULL) {
        err = merge(cursor, file, &list);
    }
    acked_file_close(file);
    if (err != ERR_OK) {
        topic_gaps_fini(&list);
        return err;
    }
    *out = list;
    return ERR_OK;
}

/* Make what was written to a file durable. */
static enum err sync_file(const char *path)
{
    int fd = -1;
    enum err err = file_open(path, FILE_READ, &fd);

    if (err == ERR_OK) {
        err = file_sync(fd);
    }
    file_close(fd);
    return err;
}

static enum err write_list(const char *path,
                           uint64_t id,
                           const struct topic_cursor *cursor,
                           const struct topic_gaps *list)
{
    struct acked_file *file = NULL;
    enum err err = acked_file_create(path, id, cursor->epoch, &file);

    for (size_t index = 0; err == ERR_OK && index < list->count; index++) {
        const struct topic_gap *run = &list->gaps[index];
        uint64_t first = run->first > cursor->next ? run->first : cursor->next;
        err = acked_file_add(file, cursor->next, first, run->end);
    }
    acked_file_close(file);
    err = err == ERR_RANGE ? ERR_OK : err;
    return err == ERR_OK ? sync_file(path) : err;
}

enum err acked_list_store(const char *directory,
                          const char *topic,
                          uint64_t id,
                          const struct topic_cursor *cursor,
                          const struct topic_gaps *list)
{
    char folder[DIR_PATH_MAX];
    char path[DIR_PATH_MAX];

    enum err err = acked_file_path(path, directory, str_from(topic), id);
    if (err == ERR_OK) {
        err = acked_file_folder(folder, directory);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (list->count == 0) {
        err = file_remove(path);
        return err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    err = dir_create(folder);
    err = err == ERR_EXISTS ? ERR_IO : err;
    if (err == ERR_OK) {
        err = write_list(path, id, cursor, list);
    }
    if (err == ERR_OK) {
        err = dir_sync(folder);
    }
    return err == ERR_OK ? dir_sync(directory) : err;
}
