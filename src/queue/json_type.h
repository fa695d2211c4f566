/* Which bodies are JSON, by what their content type says and by what they are.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_JSON_TYPE_H
#define OPQ_QUEUE_JSON_TYPE_H

#include "base/str.h"

#include <stdbool.h>

/* A content type without its parameters. */
struct str json_type_essence(struct str type);

/* Tell whether a content type says JSON: application/json, text/json, or any
 * that ends with "+json" (RFC 6839), whatever parameters follow. */
bool json_type_is(struct str type);

/* Tell whether a body is one JSON value, and its content type says so. */
bool json_type_has(struct str type, struct str body);

#endif
