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
#include <stdint.h>

enum { API_REFUSALS_MAX = 64 }; /* told of one request */

struct api_call;

/* Why what a request gives is refused: each of its values that is. Zeroed:
 * nothing is. */
struct api_refusals {
    struct buf detail; /* owned: of the one that is being found */
    struct buf first;  /* owned: of the first */
    struct buf errors; /* owned: of all, a JSON array to be closed */
    uint32_t count;
};

/* Note that what `refusals->detail` says is refused, and empty that. */
void api_refusals_add(struct api_refusals *refusals);

/* Tell whether a call can be sent whose values were read with `err`. If not,
 * answer: 400 with the first refusal as its detail and all of them as `errors`,
 * or 503; and free the call, which was not sent. The refusals are freed in
 * either case. */
bool api_settings_taken(struct api_call *call,
                        enum err err,
                        struct api_refusals *refusals);

/* A value that may come among the settings, and is none. */
struct api_settings_extra {
    const char *name; /* borrowed */
    bool given;
    struct buf value; /* owned: blanks around it are dropped */
};

/* Show each value of a request to `visit`: headers such as Opq-Retain-Age as
 * retain_age, parameters of the query, members of a JSON object (strings
 * without their quotes, others as JSON writes them). When it gives ERR_INVALID
 * and says why in `detail`, that is noted, and the others are shown as well;
 * any other error ends it.
 *
 * Errors: ERR_INVALID  something is malformed or was refused, `refusals` says
 *                      what
 *         ERR_NOMEM
 *         those of visit()
 */
MUST_CHECK enum err api_settings_each(const struct http_exchange *exchange,
                                      enum err (*visit)(void *context,
                                                        struct str name,
                                                        struct str value,
                                                        struct buf *detail),
                                      void *context,
                                      struct api_refusals *refusals);

/* Note all settings of a request in `change` (initialised): headers such as
 * Opq-Retain-Age, parameters of the query, members of a JSON object.
 *
 * Errors: ERR_INVALID  something is malformed, unknown, given twice or wrong;
 *                      `refusals` says what
 *         ERR_NOMEM
 */
MUST_CHECK enum err api_settings_read(const struct http_exchange *exchange,
                                      enum settings_scope scope,
                                      struct settings_change *change,
                                      struct api_refusals *refusals);

/* The same with one value besides; `extra->value` is empty before, and freed by
 * the caller. Errors: as api_settings_read() */
MUST_CHECK enum err api_settings_read_with(const struct http_exchange *exchange,
                                           enum settings_scope scope,
                                           struct settings_change *change,
                                           struct api_settings_extra *extra,
                                           struct api_refusals *refusals);

/* Tell of secrets that settings name and the server does not have. They may
 * come, so the settings are taken: the object that `to` ends with gets a member
 * `warnings`, an array of texts, when there is something to tell. A table that
 * is NULL has no secrets. */
void api_settings_warn(const struct settings *settings,
                       const struct secrets *secrets,
                       struct buf *to);

#endif
