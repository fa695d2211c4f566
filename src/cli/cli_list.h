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
    struct str target;  /* what is asked for, a query behind it or not */
    const char *after;  /* parameter that goes on from a page; NULL: "after" */
    const char *member; /* of a page: the array of its items */
    const char *const *heads;
    uint32_t head_count;
    uint32_t right; /* bit i: column i is aligned right (numbers) */
    void (*add_row)(struct table *table, const json_t *item);
};

/* What is done to one thing, by a word of a command line. */
struct cli_action {
    const char *name;    /* the word; NULL: an end of several */
    uint32_t word_count; /* that a command line has then, with this one */
    const char *method;
    const char *rest; /* of the target, behind the thing's own */
    bool prints;      /* the answer is for people, too */
};

/* Ask for page after page, as long as a page names the next, and show each
 * item of the array `member` to `visit`, borrowed until it returns. Pages go on
 * by the parameter "after".
 * Returns as cli_request(). */
int cli_list_each(struct cli_call *call,
                  struct str target,
                  const char *member,
                  void (*visit)(void *context, const json_t *item),
                  void *context);

/* Print a list: as a table, or with --json as an object on each line.
 * Returns as cli_request(). */
int cli_list_print(struct cli_call *call, const struct cli_list *list);

/* The same of a list whose target was put together. */
int cli_list_print_of(struct cli_call *call,
                      struct cli_list list,
                      const struct buf *target);

/* The action that a command line's first word names, with as many words as it
 * wants; NULL: there is none. */
const struct cli_action *cli_list_action(const struct cli_action *actions,
                                         const struct cli_call *call);

/* Do something to the thing that `target` names: the action's rest is appended
 * to it, and `value`, escaped, unless that is NULL. Prints the answer.
 * Returns as cli_request(). */
int cli_list_act(struct cli_call *call,
                 const struct cli_action *action,
                 struct buf *target,
                 const char *value);

/* Append the words from `first` on, which are NAME=VALUE, as parameters of a
 * query that begins with `mark`: '?', or '&' when it has some already. */
void cli_list_parameters(struct buf *to,
                         const struct cli_call *call,
                         uint32_t first,
                         char mark);

/* Append name=value to a target, escaped, behind '?' or '&' as it needs; a
 * value that is NULL is not given. */
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
