/* What must change so that a server has what a file defines. No network.
 *
 * Values are compared as the server understands them: 7d is 168h, 64m of bytes
 * is 67108864. What a section does not name has its default, but `paused`,
 * which stays as it is.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_CLI_APPLY_PLAN_H
#define OPQ_CLI_CLI_APPLY_PLAN_H

#include "cli/apply_file.h"

enum apply_action { APPLY_CREATE, APPLY_CHANGE, APPLY_DELETE };

struct apply_change {
    enum apply_action action;
    enum apply_kind kind;
    uint32_t line; /* of the section; 0: it is in no file */
    json_t *topic; /* owned: a string; NULL: of a schedule */
    json_t *name;  /* owned: a string */
    json_t *diff;  /* owned: by name {"from": text, "to": text}; no "from" of
                      what is made, or was not there; no "to" of what goes */
    json_t *body;  /* owned: to PUT; NULL: nothing */
};

struct apply_plan {
    struct apply_change *changes; /* owned */
    size_t count;
    size_t room;
};

/* Free what it has. */
void cli_apply_plan_fini(struct apply_plan *plan);

/* Add what one section of a topic or a subscription asks for; nothing when it
 * is so. `schema` is the object of its settings in /openapi.json, `now` its
 * settings, or NULL: it is not there.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err cli_apply_plan_settings(struct apply_plan *plan,
                                            const struct apply_section *section,
                                            const json_t *schema,
                                            const json_t *now);

/* Add what a section of a schedule asks for; `now` is the schedule with its
 * definition, or NULL.
 * Errors: ERR_NOMEM, ERR_INVALID (a value that must be JSON is none) */
MUST_CHECK enum err cli_apply_plan_schedule(struct apply_plan *plan,
                                            const struct apply_section *section,
                                            const json_t *now);

/* Add that something goes; `topic` is NULL of a schedule.
 * Errors: ERR_NOMEM */
MUST_CHECK enum err cli_apply_plan_delete(struct apply_plan *plan,
                                          enum apply_kind kind,
                                          const char *topic,
                                          const char *name);

/* Whether a setting that stands as `now` would be the same by `wanted`. */
bool cli_apply_plan_same(const json_t *property,
                         const json_t *now,
                         const char *wanted);

/* A schedule's definition as a file has it: an object of strings.
 * Gives: it, for json_decref(); NULL without memory. */
json_t *cli_apply_plan_flatten(const json_t *definition);

/* A value as text: a string as it is, anything else as JSON.
 * Gives: a string, for json_decref(); NULL without memory. */
json_t *cli_apply_plan_text(const json_t *value);

#endif
