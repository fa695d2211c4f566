/* What subcommands on a data directory share: opening it, and which of its
 * topics a command line names.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_CLI_DATA_H
#define OPQ_CLI_CLI_DATA_H

#include "base/err.h"
#include "cli/cli_internal.h"
#include "cli/snapshot.h"

#include <stdbool.h>
#include <stdint.h>

/* Say what opening a data directory came to. Returns what to exit with. */
int cli_data_complain(const struct cli_call *call,
                      const char *directory,
                      enum err err);

/* Open a snapshot of a directory that a server may have. The words from `first`
 * on are topics; when one is not there, that is said and `missing` returned.
 *
 * Gives:   `*out`, for snapshot_close(), when a topic is missing as well.
 * Borrows: directory, until then.
 * Returns CLI_EXIT_OK, or what to exit with. */
int cli_data_open(const struct cli_call *call,
                  const char *directory,
                  uint32_t first,
                  int missing,
                  struct snapshot **out);

/* Tell whether a topic is meant: one of the words from `first` on names it, or
 * there are none; no view, and not one that was deleted. */
bool cli_data_is_meant(const struct cli_call *call,
                       uint32_t first,
                       const struct snapshot_topic *topic);

#endif
