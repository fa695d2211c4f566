/* Settings that a request gives: in its headers, its query and its body.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_ADMIN_API_SETTINGS_H
#define OPQ_ADMIN_API_SETTINGS_H

#include "base/buf.h"
#include "base/err.h"
#include "http/server.h"
#include "queue/secrets.h"
#include "queue/settings.h"

#include <stdbool.h>

/* A value that may come among the settings, and is none. */
struct api_settings_extra {
    const char *name; /* borrowed */
    bool given;
    struct buf value; /* owned: blanks around it are dropped */
};

/* Show each value of a request to `visit`, until that fails: headers such as
 * Opq-Retain-Age as retain_age, parameters of the query, members of a JSON
 * object (strings without their quotes, others as JSON writes them).
 *
 * Errors: ERR_INVALID  something is malformed, `detail` says what
 *         ERR_NOMEM
 *         those of visit()
 */
MUST_CHECK enum err api_settings_each(const struct http_exchange *exchange,
                                      enum err (*visit)(void *context,
                                                        struct str name,
                                                        struct str value,
                                                        struct buf *detail),
                                      void *context,
                                      struct buf *detail);

/* Note all settings of a request in `change` (initialised): headers such as
 * Opq-Retain-Age, parameters of the query, members of a JSON object.
 *
 * Errors: ERR_INVALID  something is malformed, unknown, given twice or wrong;
 *                      `detail` says what
 *         ERR_NOMEM
 */
MUST_CHECK enum err api_settings_read(const struct http_exchange *exchange,
                                      enum settings_scope scope,
                                      struct settings_change *change,
                                      struct buf *detail);

/* The same with one value besides; `extra->value` is empty before, and freed by
 * the caller. Errors: as api_settings_read() */
MUST_CHECK enum err api_settings_read_with(const struct http_exchange *exchange,
                                           enum settings_scope scope,
                                           struct settings_change *change,
                                           struct api_settings_extra *extra,
                                           struct buf *detail);

/* Tell of secrets that settings name and the server does not have. They may
 * come, so the settings are taken: the object that `to` ends with gets a member
 * `warnings`, an array of texts, when there is something to tell. A table that
 * is NULL has no secrets. */
void api_settings_warn(const struct settings *settings,
                       const struct secrets *secrets,
                       struct buf *to);

#endif
