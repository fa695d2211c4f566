/* Lists that a server gives page by page, and what is asked of one thing.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_CLI_LIST_H
#define OPQ_CLI_CLI_LIST_H

#include "cli/cli_internal.h"
#include "cli/table.h"

/* A list, and how it is printed. */
struct cli_list {
    const char *target; /* what is asked for, a query behind it or not */
    const char *member; /* of a page: the array of its items */
    const char *const *heads;
    uint32_t head_count;
    uint32_t right; /* bit i: column i is aligned right (numbers) */
    void (*add_row)(struct table *table, const json_t *item);
};

/* Ask for page after page, as long as a page names the next, and show each
 * item of the array `member` to `visit`, borrowed until it returns.
 * Returns as cli_request(). */
int cli_list_each(struct cli_call *call,
                  struct str target,
                  const char *member,
                  void (*visit)(void *context, const json_t *item),
                  void *context);

/* Print a list: as a table, or with --json as an object on each line.
 * Returns as cli_request(). */
int cli_list_print(struct cli_call *call, const struct cli_list *list);

/* Append the words from `first` on, which are NAME=VALUE, as parameters of a
 * query that begins with `mark`: '?', or '&' when it has some already. */
void cli_list_parameters(struct buf *to,
                         const struct cli_call *call,
                         uint32_t first,
                         char mark);

/* Append name=value to a target, escaped, behind '?' or '&' as it needs. */
void cli_list_parameter(struct buf *target,
                        const char *name,
                        const char *value);

/* Send a request with a body of JSON, or with none, to a target that was put
 * together. Returns as cli_request(); CLI_EXIT_FAILED when it lacks memory. */
int cli_list_request(struct cli_call *call,
                     const char *method,
                     const struct buf *target,
                     struct str body);

#endif
