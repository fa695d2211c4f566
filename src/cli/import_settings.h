/* Settings as a store keeps them, in the words of the API.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_IMPORT_SETTINGS_H
#define OPQ_CLI_IMPORT_SETTINGS_H

#include "base/buf.h"
#include "base/str.h"

#include <stdbool.h>

/* Append the members of an object for `text`, the lines "name value" of a
 * topic's or a view's settings, each with a comma before it; `paused` is not
 * among them. Returns whether it was paused. What is only the server's own is
 * left out. */
bool import_settings_write(struct buf *to, struct str text);

#endif
