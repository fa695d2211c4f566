/* Two readings of the settings: what is different, and what of it can change
 * while the server runs (config_live.def).
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SERVER_CONFIG_CHANGE_H
#define OPQ_SERVER_CONFIG_CHANGE_H

#include "base/err.h"
#include "server/config.h"

#include <stdbool.h>

enum {
    CONFIG_CHANGE_NUMBER_SIZE = 32, /* bytes of a number as text */
    CONFIG_CHANGE_URL_SIZE = 320,   /* of a URL without its path */
};

/* A setting that is different: its name, whether it can change while the server
 * runs, and both values as they would be written in a file, but for the path of
 * events_url, of which nothing but "/..." is told. Borrowed. */
typedef void config_differs(void *context,
                            const char *name,
                            bool live,
                            const char *from,
                            const char *to);

/* Tell of all settings that are different, in their order. */
void config_compare(const struct config *from,
                    const struct config *to,
                    config_differs *differs,
                    void *context);

/* Make what is in force after a reload: `fresh` where a setting can change,
 * `now` where it cannot.
 *
 * Gives:  `*out`, for config_fini().
 * Errors: ERR_NOMEM
 */
MUST_CHECK enum err config_merge(const struct config *now,
                                 const struct config *fresh,
                                 struct config *out);

#endif
