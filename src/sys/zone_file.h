/* Where the system keeps its time zones.
 *
 * Threads: any.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SYS_ZONE_FILE_H
#define OPQ_SYS_ZONE_FILE_H

#include "base/err.h"
#include "base/str.h"
#include "base/zone.h"

/* Load a zone by its name, as "Europe/Berlin", from the folder that the
 * environment's TZDIR names, or /usr/share/zoneinfo. "UTC" needs no file.
 *
 * Gives:  `*out`, for zone_destroy().
 * Blocks: on reading a small file.
 * Errors: ERR_INVALID    not a zone's name
 *         ERR_NOT_FOUND  the system has none of that name, or what it has
 *                        cannot be read, or not by zone_create()
 *         ERR_NOMEM, ERR_BUSY (descriptors)
 */
MUST_CHECK enum err zone_file_load(struct str name, struct zone **out);

#endif
