/* Which messages above a topic's cursor are done, any number of them:
 * doc/log-format.md, section 7.
 *
 * A cursor has a bounded number of ranges. What is above the last of them is
 * noted here: a file of pages of bits, shared with the kernel, so that a kill
 * of the process loses nothing, and noting costs a store to memory. The loss of
 * power may leave less, never more.
 *
 *     create, or open -> { add, next }* -> close
 *
 * A page's place follows from its number, and comes round again every
 * ACKED_FILE_PAGES of them: the file has room for ACKED_FILE_SPAN messages from
 * the cursor on, at least, and never grows beyond. Its size is that from the
 * start; a page takes room on disk when it is first needed, by zeros that are
 * written, so that no store meets a hole for which there is none.
 *
 * It belongs to one epoch of the cursor. Pages of another topic or epoch, and
 * those that are not whole, are not believed.
 *
 * Lies in <data>/acked, its name made of those of its topic and of the id of
 * the topic or view whose cursor it is.
 *
 * Threads: the loop's of the shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_ACKED_FILE_H
#define OPQ_LOG_ACKED_FILE_H

#include "base/err.h"
#include "base/str.h"
#include "log/acked_page.h"
#include "log/topic_cursor.h"
#include "sys/dir.h"

#include <stdbool.h>
#include <stdint.h>

struct acked_file;

enum {
    ACKED_FILE_PAGES = 2048,
    ACKED_FILE_SIZE = ACKED_FILE_PAGES * ACKED_PAGE_SIZE,
    /* Messages from the cursor on that can be noted, wherever in its page the
     * cursor is: 66 million. */
    ACKED_FILE_SPAN = (ACKED_FILE_PAGES - 1) * ACKED_PAGE_MESSAGES,
};

/* Pages that are not whole. */
struct acked_file_damage {
    uint32_t pages;
    uint64_t offset; /* of the first of them in the file */
};

/* Write the path of the folder that has such files.
 * Errors: ERR_TOO_LARGE */
MUST_CHECK enum err acked_file_folder(char path[DIR_PATH_MAX],
                                      const char *data);

/* Write the path of a file: of the topic, or of a view of it, that has this id.
 * Errors: ERR_TOO_LARGE */
MUST_CHECK enum err acked_file_path(char path[DIR_PATH_MAX],
                                    const char *data,
                                    struct str topic,
                                    uint64_t id);

/* Take apart the name of such a file; false when it is none's.
 * Gives: `*out_topic`, borrowed from `name`. */
bool acked_file_parse(const char *name,
                      struct str *out_topic,
                      uint64_t *out_id);

/* Make the file, empty, in the place of what there is.
 *
 * Gives:  `*out`, for acked_file_close().
 * Blocks: on making it.
 * Errors: ERR_FULL, ERR_BUSY (descriptors), ERR_IO, ERR_NOMEM; an empty file
 *         may be there
 */
MUST_CHECK enum err acked_file_create(const char *path,
                                      uint64_t id,
                                      uint64_t epoch,
                                      struct acked_file **out);

/* Open a file that is there.
 *
 * Gives:  `*out`, for acked_file_close().
 * Blocks: on reading it.
 * Errors: ERR_NOT_FOUND, ERR_FULL, ERR_BUSY (descriptors), ERR_IO, ERR_NOMEM
 */
MUST_CHECK enum err acked_file_open(const char *path,
                                    uint64_t id,
                                    uint64_t epoch,
                                    struct acked_file **out);

/* As acked_file_open(), for reading alone, as it is now: a process may have it,
 * and nothing of it is changed.
 * Errors: ERR_NOT_FOUND, ERR_BUSY, ERR_IO, ERR_NOMEM */
MUST_CHECK enum err acked_file_look(const char *path,
                                    uint64_t id,
                                    uint64_t epoch,
                                    struct acked_file **out);

/* Look for damage in a file, of whatever epoch its pages are.
 * Errors: as acked_file_look() */
MUST_CHECK enum err
acked_file_check(const char *path, uint64_t id, struct acked_file_damage *out);

/* Let go of it; the file stays. Accepts NULL. */
void acked_file_close(struct acked_file *file);

/* The epoch that it is of. */
uint64_t acked_file_epoch(const struct acked_file *file);

/* One past the highest message that is noted; 0: none is. */
uint64_t acked_file_end(const struct acked_file *file);

/* What was not whole when it was opened. */
struct acked_file_damage acked_file_damage(const struct acked_file *file);

/* Note that messages `first` up to `end` are done. `floor` is the cursor, at
 * most `first`: what is noted below it may be forgotten.
 *
 * Blocks: on a file's descriptor and 4 KiB to its cache, once in
 *         ACKED_PAGE_MESSAGES messages.
 * Errors: ERR_RANGE  some are further from `floor` than there is room for
 *         ERR_FULL   no room on disk for some
 *         ERR_BUSY (descriptors), ERR_IO
 *         Those are not noted, but may be later.
 */
MUST_CHECK enum err acked_file_add(struct acked_file *file,
                                   uint64_t floor,
                                   uint64_t first,
                                   uint64_t end);

/* The first run of messages at or above `from` that are noted; false: there is
 * none within ACKED_FILE_SPAN. Looks at no more than that. */
bool acked_file_next(const struct acked_file *file,
                     uint64_t from,
                     struct topic_range *out);

#endif
