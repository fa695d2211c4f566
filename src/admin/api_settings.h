/* Settings of a topic as the API names them.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_ADMIN_API_SETTINGS_H
#define OPQ_ADMIN_API_SETTINGS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "queue/topic.h"

/* Set one setting by its name: paused (yes, no, true, false), timeout and
 * retain_age (durations), retain_bytes (a size), retain_count, discard (new,
 * old). Blanks around the value are dropped.
 *
 * Errors: ERR_INVALID  unknown name or bad value; `detail` says which, and the
 *                      settings are as they were
 */
MUST_CHECK enum err api_settings_set(struct topic_settings *settings,
                                     struct str name,
                                     struct str value,
                                     struct buf *detail);

/* Append settings as a JSON object whose members api_settings_set() takes
 * back. */
void api_settings_json(const struct topic_settings *settings, struct buf *to);

/* The name of a setting by its number, from 0; NULL past the last. */
const char *api_settings_name(unsigned index);

#endif
