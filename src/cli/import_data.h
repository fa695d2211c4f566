/* Putting topics into a data directory that no server has.
 *
 * Each topic is written into a folder beside `topics/` and moved there in one
 * step when it is whole: so an import that was cut short leaves whole topics
 * and, at most, a folder `import-...`, which the next one removes. A topic
 * keeps a mark of where it came from (a file `imported`), so that the same
 * import, repeated, passes over it.
 *
 *     open -> { begin -> {cursor, view, message, part}* -> end }* -> close
 *
 * Threads: one. All calls block on the disk.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_IMPORT_DATA_H
#define OPQ_CLI_IMPORT_DATA_H

#include "base/err.h"
#include "log/record.h"
#include "log/topic_conf.h"
#include "log/topic_cursor.h"
#include "log/topic_gaps.h"

#include <stdint.h>

struct import_data;

/* Open a data directory and take its lock; make it when it is not there.
 * `mark` says where all of it comes from: 16 hexadecimal digits, say.
 *
 * Gives:   `*out`, for import_data_close().
 * Borrows: directory, mark, until then.
 * Errors:  ERR_CONDITION  it was not stopped in order: start and stop a server
 *          those of inspect_open(), ERR_FULL
 */
MUST_CHECK enum err import_data_open(const char *directory,
                                     const char *mark,
                                     struct import_data **out);

/* Begin a topic whose log begins with number `first`. An id that is 0, or one
 * that the directory has already, is drawn anew.
 *
 * Errors: ERR_AGAIN    this very import has brought it before
 *         ERR_EXISTS   there is such a topic
 *         ERR_INVALID  no name of a topic
 *         ERR_FULL, ERR_IO, ERR_NOMEM
 */
MUST_CHECK enum err import_data_begin(struct import_data *data,
                                      const struct topic_conf *conf,
                                      uint64_t first);

/* Set the topic's cursor. `acked` is what is acknowledged above its ranges.
 * Errors: ERR_FULL, ERR_BUSY (descriptors), ERR_IO, ERR_NOMEM */
MUST_CHECK enum err import_data_cursor(struct import_data *data,
                                       const struct topic_cursor *cursor,
                                       const struct topic_gaps *acked);

/* Make a view of the topic; `acked` as above.
 * Errors: ERR_INVALID (its name), ERR_FULL, ERR_IO, ERR_NOMEM */
MUST_CHECK enum err import_data_view(struct import_data *data,
                                     const struct topic_conf *conf,
                                     const struct topic_cursor *cursor,
                                     const struct topic_gaps *acked);

/* Append a message. When its body lies beside, it is complete with the parts
 * that follow; its blob's id is drawn here.
 * Errors: ERR_INVALID (the number is not above the last one's, or the parts of
 *         the message before are not complete), ERR_FULL, ERR_IO, ERR_NOMEM */
MUST_CHECK enum err import_data_message(struct import_data *data,
                                        const struct record *record);

/* Append bytes of the last message's body.
 * Errors: ERR_INVALID  more than it has, or others than its checksum says
 *         ERR_FULL, ERR_IO, ERR_NOMEM */
MUST_CHECK enum err import_data_part(struct import_data *data,
                                     struct str bytes);

/* End the topic, whose next message gets number `end`: it is in the directory,
 * durably.
 * Errors: ERR_INVALID  the parts of its last message are not complete
 *         ERR_FULL, ERR_IO, ERR_NOMEM */
MUST_CHECK enum err import_data_end(struct import_data *data, uint64_t end);

/* Give up the topic that was begun, if one was. */
void import_data_drop(struct import_data *data);

/* Unlock and free; a topic that was not ended is dropped. Accepts NULL. */
void import_data_close(struct import_data *data);

#endif
