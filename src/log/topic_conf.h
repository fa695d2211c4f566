/* The file `topic.conf` of a topic's folder: doc/log-format.md, section 1; and
 * the body of the journal's TOPIC entry, which says the same (section 6).
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_TOPIC_CONF_H
#define OPQ_LOG_TOPIC_CONF_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TOPIC_CONF_NAME_MAX = 128,
    TOPIC_CONF_SETTINGS_MAX = 16384,
};

struct topic_conf {
    uint64_t id; /* not in an entry's body: the entry has it */
    uint64_t created_ms;
    uint64_t retain_age_ms;
    uint64_t retain_bytes;
    uint64_t retain_count;
    bool discard_old;
    bool made;       /* in an entry: it makes the topic, so all messages of the
                        topic come behind it in the journal */
    struct str name; /* borrowed; not in the file: its folder has it */
    struct str settings; /* borrowed */
};

/* Write the file's text. */
void topic_conf_write(const struct topic_conf *conf, struct buf *to);

/* Read <directory>/topic.conf.
 *
 * Gives:  `*out_memory`, for free(), which `*out_conf` borrows from.
 * Errors: ERR_NOT_FOUND, ERR_CORRUPT, ERR_UNSUPPORTED, ERR_IO, ERR_NOMEM
 */
MUST_CHECK enum err topic_conf_load(const char *directory,
                                    char **out_memory,
                                    struct topic_conf *out_conf);

/* The id that `cmd` or `dlv` of a folder says, for one whose topic.conf is
 * lost; 0 when they say none. Blocks: on the disk. */
uint64_t topic_conf_guess_id(const char *directory);

/* Bytes of the body of a TOPIC entry. */
size_t topic_conf_body_size(const struct topic_conf *conf);

/* Write the body of a TOPIC entry, of topic_conf_body_size() bytes. */
void topic_conf_body_write(const struct topic_conf *conf, void *to);

/* Read the body of a TOPIC entry.
 * Borrows: body, as long as `out_conf` is used. Errors: ERR_CORRUPT */
MUST_CHECK enum err topic_conf_body_read(struct str body,
                                         struct topic_conf *out_conf);

#endif
