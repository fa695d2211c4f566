/* The subcommands: clients of the HTTP API, and tools for a data directory.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_CLI_H
#define OPQ_CLI_CLI_H

#include <stdio.h>

/* Exit codes of subcommands. */
enum {
    CLI_EXIT_OK = 0,
    CLI_EXIT_FAILED = 1,      /* the server refused, or found something */
    CLI_EXIT_UNREACHABLE = 2, /* no server, or no data directory there */
    CLI_EXIT_USAGE = 64,      /* the command line is wrong */
};

/* Run a subcommand by its name, with the arguments behind it. Returns the exit
 * code; an unknown name is CLI_EXIT_USAGE, said on standard error. */
int cli_main(const char *command, int argument_count, char *const *arguments);

/* Print the subcommands, a line each. */
void cli_help(FILE *to);

#endif
