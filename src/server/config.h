/* The settings of the server, from one table (config.def).
 *
 * A value comes from, the later winning: the default, the file given by
 * --config (or OPQ_CONFIG), the environment (OPQ_<NAME>), the command line.
 * Names are written with '-' or '_' alike.
 *
 * Threads: one, at start.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SERVER_CONFIG_H
#define OPQ_SERVER_CONFIG_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define CONFIG_FIELD_COUNT uint64_t
#define CONFIG_FIELD_SIZE uint64_t
#define CONFIG_FIELD_TIME uint64_t /* milliseconds */
#define CONFIG_FIELD_FLAG bool
#define CONFIG_FIELD_TEXT char *   /* owned; never NULL */
#define CONFIG_FIELD_CHOICE char * /* owned; never NULL */

struct config {
#define GROUP(text)
#define SETTING(name, type, value, min, max, text) CONFIG_FIELD_##type name;
#include "server/config.def"
#undef GROUP
#undef SETTING
    bool check_only; /* --check-config */
    char *file;      /* owned; NULL: none was read */
};

/* Read all settings. What is wrong is appended to `errors`, a line each, with
 * its place ("opq.conf:12: ...", "OPQ_PORT: ...", "--port: ..."), and a
 * suggestion where a name is nearly one of ours. `arguments` ends with NULL.
 *
 * Gives:  `*out`, for config_fini().
 * Errors: ERR_INVALID  something is wrong; all of it is in `errors`
 *         ERR_NOMEM
 */
MUST_CHECK enum err config_read(char *const *arguments,
                                char *const *environment,
                                struct config *out,
                                struct buf *errors);

/* Look at what no single value can tell; config_read() has.
 * Errors: ERR_INVALID (`errors` has a line for each thing) */
MUST_CHECK enum err config_check(const struct config *config,
                                 struct buf *errors);

/* Free what the settings own. */
void config_fini(struct config *config);

/* Print the settings for people, as --help does. */
void config_help(FILE *to);

/* Print the settings as a part of a manual page, in scdoc's language. */
void config_manual(FILE *to);

#endif
