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
#include "queue/settings.h"

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

#endif
