/* The file `topic.conf` of a topic's folder, or a view's: doc/log-format.md,
 * section 1; and the body of the journal's TOPIC entry, which says the same
 * (section 6).
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
#include "sys/dir.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TOPIC_CONF_NAME_MAX = 128,
    TOPIC_CONF_SETTINGS_MAX = 16384,
};

/* The folder of a topic's folder that has those of its views. */
#define TOPIC_CONF_VIEWS "sub"

struct topic_conf {
    uint64_t id; /* not in an entry's body: the entry has it */
    uint64_t created_ms;
    uint64_t retain_age_ms;
    uint64_t retain_bytes;
    uint64_t retain_count;
    bool discard_old;
    bool made;       /* in an entry: it makes the topic, so all messages of the
                        topic come behind it in the journal */
    bool loose;      /* of a view: it holds no messages */
    uint64_t parent; /* of a view: its topic's id; 0: a topic's */
    uint64_t start;  /* of a view, in an entry that makes it: where its cursor
                        begins */
    struct str name; /* borrowed; not in the file: its folder has it */
    struct str settings; /* borrowed */
};

/* Tell whether retention may drop messages, of which `cmd` need not have heard
 * when a server was killed. */
bool topic_conf_retains(const struct topic_conf *conf);

/* Write the file's text. */
void topic_conf_write(const struct topic_conf *conf, struct buf *to);

/* Read <directory>/topic.conf, of a topic or of a view.
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

/* The id of a topic, as its views say, for one whose own files do not; 0 when
 * they say none. Blocks: on the disk. */
uint64_t topic_conf_guess_parent(const char *directory);

/* Write the path of a view's folder. Errors: ERR_TOO_LARGE */
MUST_CHECK enum err topic_conf_view_path(char path[DIR_PATH_MAX],
                                         const char *topic_directory,
                                         const char *name);

/* Bytes of the body of a TOPIC entry. */
size_t topic_conf_body_size(const struct topic_conf *conf);

/* Write the body of a TOPIC entry, of topic_conf_body_size() bytes. */
void topic_conf_body_write(const struct topic_conf *conf, void *to);

/* Read the body of a TOPIC entry.
 * Borrows: body, as long as `out_conf` is used. Errors: ERR_CORRUPT */
MUST_CHECK enum err topic_conf_body_read(struct str body,
                                         struct topic_conf *out_conf);

#endif
