/* A file of definitions: topics, subscriptions, schedules, as `opq apply` has
 * them.
 *
 *     # what follows a '#' at the start of a line is a comment
 *     [topic orders]
 *     order = key
 *     retain_age = 7d
 *
 *     [subscription orders audit]
 *     url = http://audit/in
 *
 *     [schedule nightly]
 *     cron = 30 2 * * *
 *     topic = reports
 *     url = http://reports/run
 *     message = "two\nlines"
 *
 * A value is what stands behind the '=', without blanks at its ends; one that
 * begins with '"' is a JSON string. No section stands twice, no name twice in
 * one.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_APPLY_FILE_H
#define OPQ_CLI_APPLY_FILE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    APPLY_FILE_ERRORS_MAX = 20, /* told of one file */
    APPLY_FILE_KIND_COUNT = 3
};

enum apply_kind { APPLY_TOPIC, APPLY_SUBSCRIPTION, APPLY_SCHEDULE };

/* A section. */
struct apply_section {
    enum apply_kind kind;
    uint32_t line;    /* of its head, from 1 on */
    json_t *topic;    /* owned: a string; NULL: of a schedule */
    json_t *name;     /* owned: a string; of a topic the same */
    json_t *settings; /* owned: an object of strings, in the file's order */
    json_t *lines;    /* owned: an object of the same names: their lines */
};

struct apply_file {
    struct apply_section *sections; /* owned; in the file's order */
    size_t count;
    size_t room;
};

/* Read definitions. What is wrong is appended to `errors`, "NAME:LINE: ..." on
 * lines of their own, at most APPLY_FILE_ERRORS_MAX; a kind of section that is
 * nearly one of ours is suggested. Names of settings are not looked at.
 *
 * Gives:  `*out`, for apply_file_fini(), also on failure.
 * Errors: ERR_INVALID  something is wrong
 *         ERR_NOMEM
 */
MUST_CHECK enum err apply_file_parse(const char *name,
                                     struct str text,
                                     struct apply_file *out,
                                     struct buf *errors);

/* Free what it has. */
void apply_file_fini(struct apply_file *file);

/* The word for a kind in a file: "topic". */
const char *apply_file_kind_text(enum apply_kind kind);

/* Append a value as it stands in a file: quoted when it must be. */
void apply_file_write_value(struct buf *to, const char *value);

/* Append the head of a section; `topic` is NULL but for a subscription. */
void apply_file_write_head(struct buf *to,
                           enum apply_kind kind,
                           const char *topic,
                           const char *name);

#endif
