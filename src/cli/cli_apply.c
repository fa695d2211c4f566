/* Subcommand apply: make topics, subscriptions and schedules what a file says.
 *
 * The file is read and its names are looked at, the server's present state is
 * asked for, the difference is shown, and only then anything is changed: topics
 * first, then what belongs to them, then what goes. A change that the server
 * refuses ends it, each of its values that is refused said with its line; what
 * was done before stays, and the next run goes on from there.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/nearest.h"
#include "cli/cli_apply_plan.h"
#include "cli/cli_list.h"
#include "cli/progress.h"
#include "http/form.h"
#include "sys/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STDIN_FD = 0 };

struct apply {
    struct cli_call call;
    const char *path;
    struct apply_file file;
    struct apply_plan plan;
    json_t *schemas;       /* owned: components/schemas of the server */
    json_t *topics;        /* owned: by name, as the server lists them */
    json_t *schedules;     /* owned: by id, as the server shows them */
    json_t *subscriptions; /* owned: by topic, by name */
    bool dry_run;
    bool prune;
    bool yes;
    bool export;
};

/* --- what the server has -------------------------------------------------- */

static void keep_named(void *context, const json_t *item)
{
    (void)json_object_set(context, cli_text(item, "name"), (json_t *)item);
}

static void keep_schedule(void *context, const json_t *item)
{
    (void)json_object_set(context, cli_text(item, "id"), (json_t *)item);
}

/* Append the target of what a change or a section is about. */
static void append_target(struct buf *to,
                          enum apply_kind kind,
                          const char *topic,
                          const char *name)
{
    if (kind == APPLY_SCHEDULE) {
        buf_append_c(to, "/opq/schedules/");
    } else {
        buf_append_c(to, "/opq/topics/");
    }
    if (kind == APPLY_SUBSCRIPTION) {
        form_escape(to, str_from(topic));
        buf_append_c(to, "/subscriptions/");
    }
    form_escape(to, str_from(name));
}

/* The subscriptions of a topic that has some. */
static int ask_subscriptions(struct apply *apply, const char *topic)
{
    json_t *all = json_object();
    struct buf target = {0};

    buf_append_c(&target, "/opq/topics/");
    form_escape(&target, str_from(topic));
    buf_append_c(&target, "/subscriptions");
    int code = cli_list_each(&apply->call, buf_str(&target), "subscriptions",
                             keep_named, all);
    (void)json_object_set_new(apply->subscriptions, topic, all);
    buf_fini(&target);
    return code;
}

/* A schedule with its definition, which lists do not have. */
static int ask_schedule(struct apply *apply, const char *id)
{
    struct buf target = {0};
    json_t *schedule = NULL;

    append_target(&target, APPLY_SCHEDULE, NULL, id);
    int code = cli_get_json(&apply->call, buf_str(&target), &schedule);
    if (code == CLI_EXIT_OK) {
        (void)json_object_set_new(apply->schedules, id, schedule);
    }
    buf_fini(&target);
    return code;
}

static int ask_state(struct apply *apply)
{
    json_t *list = json_object();
    const char *name = NULL;
    json_t *item = NULL;
    json_t *openapi = NULL;

    apply->topics = json_object();
    apply->schedules = json_object();
    apply->subscriptions = json_object();
    int code = cli_get_json(&apply->call, STR("/openapi.json"), &openapi);
    apply->schemas = json_incref(
        json_object_get(json_object_get(openapi, "components"), "schemas"));
    json_decref(openapi);
    if (code == CLI_EXIT_OK) {
        code = cli_list_each(&apply->call, STR("/opq/topics?limit=1000"),
                             "topics", keep_named, apply->topics);
    }
    json_object_foreach(apply->topics, name, item)
    {
        if (code == CLI_EXIT_OK &&
            json_array_size(json_object_get(item, "subscriptions")) > 0) {
            code = ask_subscriptions(apply, name);
        }
    }
    if (code == CLI_EXIT_OK) {
        code = cli_list_each(&apply->call, STR("/opq/schedules?limit=1000"),
                             "schedules", keep_schedule, list);
    }
    json_object_foreach(list, name, item)
    {
        code = code == CLI_EXIT_OK ? ask_schedule(apply, name) : code;
    }
    json_decref(list);
    return code;
}

static const json_t *schema_of(const struct apply *apply, enum apply_kind kind)
{
    return json_object_get(apply->schemas, kind == APPLY_TOPIC
                                               ? "Settings"
                                               : "SubscriptionSettings");
}

/* What a subscription is now; NULL: it is not there. */
static const json_t *
subscription_of(const struct apply *apply, const char *topic, const char *name)
{
    return json_object_get(json_object_get(apply->subscriptions, topic), name);
}

/* --- names of settings ---------------------------------------------------- */

/* Whether a name is known; those that are not far off are offered. */
static bool
is_known(const json_t *properties, const char *name, struct nearest *nearest)
{
    const char *known = NULL;
    json_t *value = NULL;

    json_object_foreach((json_t *)properties, known, value)
    {
        if (strcmp(known, name) == 0) {
            return true;
        }
        nearest_offer(nearest, known);
    }
    return false;
}

static bool is_extra(const char *extra, const char *name)
{
    return extra[0] != '\0' && strcmp(extra, name) == 0;
}

static bool check_name(const struct apply *apply,
                       const struct apply_section *section,
                       const char *name)
{
    struct nearest nearest = nearest_of(str_from(name));
    const json_t *parts = json_object_get(
        json_object_get(apply->schemas, "ScheduleDefinition"), "allOf");
    bool known = false;

    if (section->kind == APPLY_SCHEDULE) {
        const json_t *push = json_object_get(apply->schemas, "JsonPush");
        known =
            is_known(json_object_get(push, "properties"), name, &nearest) ||
            is_known(json_object_get(json_array_get(parts, 1), "properties"),
                     name, &nearest) ||
            is_extra("message_json", name);
    } else {
        known =
            is_known(
                json_object_get(schema_of(apply, section->kind), "properties"),
                name, &nearest) ||
            is_extra(section->kind == APPLY_SUBSCRIPTION ? "start" : "", name);
    }
    if (!known) {
        (void)fprintf(stderr, "%s:%lld: a %s has no %s%s%s%s\n", apply->path,
                      (long long)cli_number(section->lines, name),
                      apply_file_kind_text(section->kind), name,
                      nearest.name != NULL ? "; did you mean " : "",
                      nearest.name != NULL ? nearest.name : "",
                      nearest.name != NULL ? "?" : "");
    }
    return known;
}

static bool check_names(const struct apply *apply)
{
    const char *name = NULL;
    json_t *value = NULL;
    bool good = true;

    for (size_t index = 0; index < apply->file.count; index++) {
        const struct apply_section *section = &apply->file.sections[index];
        json_object_foreach(section->settings, name, value)
        {
            good = check_name(apply, section, name) && good;
        }
    }
    return good;
}

/* --- the plan ------------------------------------------------------------- */

/* Add what a section asks for. */
static enum err plan_section(struct apply *apply,
                             const struct apply_section *section)
{
    const char *name = json_string_value(section->name);
    const json_t *now = NULL;

    if (section->kind == APPLY_SCHEDULE) {
        return cli_apply_plan_schedule(&apply->plan, section,
                                       json_object_get(apply->schedules, name));
    }
    now = section->kind == APPLY_TOPIC
              ? json_object_get(apply->topics, name)
              : subscription_of(apply, json_string_value(section->topic), name);
    return cli_apply_plan_settings(&apply->plan, section,
                                   schema_of(apply, section->kind),
                                   json_object_get(now, "settings"));
}

static bool is_defined(const struct apply *apply,
                       enum apply_kind kind,
                       const char *topic,
                       const char *name)
{
    for (size_t index = 0; index < apply->file.count; index++) {
        const struct apply_section *section = &apply->file.sections[index];
        if (section->kind == kind &&
            strcmp(json_string_value(section->name), name) == 0 &&
            (topic == NULL ||
             strcmp(json_string_value(section->topic), topic) == 0)) {
            return true;
        }
    }
    return false;
}

/* Topics of dead letters belong to others; internal ones to the server. */
static bool is_ours(const json_t *topic)
{
    return strcmp(cli_text(topic, "kind"), "messages") == 0 &&
           !str_starts(str_from(cli_text(topic, "name")), STR(".opq."));
}

static enum err plan_prune(struct apply *apply)
{
    const char *topic = NULL;
    const char *name = NULL;
    json_t *item = NULL;
    json_t *one = NULL;
    enum err err = ERR_OK;

    json_object_foreach(apply->schedules, name, item)
    {
        if (err == ERR_OK && !is_defined(apply, APPLY_SCHEDULE, NULL, name)) {
            err =
                cli_apply_plan_delete(&apply->plan, APPLY_SCHEDULE, NULL, name);
        }
    }
    json_object_foreach(apply->topics, topic, item)
    {
        bool stays = is_defined(apply, APPLY_TOPIC, NULL, topic);
        json_object_foreach(json_object_get(apply->subscriptions, topic), name,
                            one)
        {
            bool defined = is_defined(apply, APPLY_SUBSCRIPTION, topic, name);
            stays = stays || defined; /* it needs its topic */
            if (err == ERR_OK && !defined) {
                err = cli_apply_plan_delete(&apply->plan, APPLY_SUBSCRIPTION,
                                            topic, name);
            }
        }
        if (err == ERR_OK && is_ours(item) && !stays) {
            err =
                cli_apply_plan_delete(&apply->plan, APPLY_TOPIC, topic, topic);
        }
    }
    return err;
}

static int make_plan(struct apply *apply)
{
    for (unsigned kind = 0; kind < APPLY_FILE_KIND_COUNT; kind++) {
        for (size_t index = 0; index < apply->file.count; index++) {
            const struct apply_section *section = &apply->file.sections[index];
            enum err err = section->kind == (enum apply_kind)kind
                               ? plan_section(apply, section)
                               : ERR_OK;
            if (err == ERR_INVALID) {
                (void)fprintf(stderr,
                              "%s:%u: headers and message_json must be JSON\n",
                              apply->path, section->line);
            }
            if (err != ERR_OK) {
                return err == ERR_INVALID
                           ? CLI_EXIT_FAILED
                           : cli_complain(&apply->call, CLI_EXIT_FAILED, "%s",
                                          err_text(err));
            }
        }
    }
    enum err err = apply->prune ? plan_prune(apply) : ERR_OK;
    return err == ERR_OK ? CLI_EXIT_OK
                         : cli_complain(&apply->call, CLI_EXIT_FAILED, "%s",
                                        err_text(err));
}

/* --- showing -------------------------------------------------------------- */

static const char *const action_texts[] = {
    [APPLY_CREATE] = "create",
    [APPLY_CHANGE] = "change",
    [APPLY_DELETE] = "delete",
};

static void append_change(struct buf *to, const struct apply_change *change)
{
    static const char marks[] = {
        [APPLY_CREATE] = '+', [APPLY_CHANGE] = '~', [APPLY_DELETE] = '-'};
    const char *name = NULL;
    json_t *pair = NULL;

    buf_append_format(to, "%c %s %s%s%s\n", marks[change->action],
                      apply_file_kind_text(change->kind),
                      change->kind == APPLY_SUBSCRIPTION
                          ? json_string_value(change->topic)
                          : "",
                      change->kind == APPLY_SUBSCRIPTION ? " " : "",
                      json_string_value(change->name));
    json_object_foreach(change->diff, name, pair)
    {
        const json_t *from = json_object_get(pair, "from");
        const json_t *now = json_object_get(pair, "to");
        buf_append_format(to, "    %s = ", name);
        if (from != NULL) {
            apply_file_write_value(to, json_string_value(from));
            buf_append_c(to, " -> ");
        }
        if (now != NULL) {
            apply_file_write_value(to, json_string_value(now));
        } else {
            buf_append_c(to, "nothing");
        }
        buf_append_byte(to, '\n');
    }
}

static int show_plan(const struct apply *apply)
{
    struct buf text = {0};

    for (size_t index = 0; index < apply->plan.count; index++) {
        append_change(&text, &apply->plan.changes[index]);
    }
    buf_append_c(&text, apply->plan.count == 0 ? "nothing to change\n" : "");
    return cli_print(&text);
}

/* The plan for programs, once it was carried out or not. */
static int print_json(const struct apply *apply, size_t done)
{
    json_t *changes = json_array();

    for (size_t index = 0; index < apply->plan.count; index++) {
        const struct apply_change *change = &apply->plan.changes[index];
        (void)json_array_append_new(
            changes,
            json_pack("{s:s,s:s,s:O*,s:O,s:O*,s:b}", "action",
                      action_texts[change->action], "kind",
                      apply_file_kind_text(change->kind), "topic",
                      change->kind == APPLY_SUBSCRIPTION ? change->topic : NULL,
                      "name", change->name, "settings", change->diff, "done",
                      index < done));
    }
    bool good = json_dumpf(changes, stdout, JSON_COMPACT) == 0 &&
                fputc('\n', stdout) != EOF;
    json_decref(changes);
    return good ? CLI_EXIT_OK : CLI_EXIT_FAILED;
}

/* --- doing ---------------------------------------------------------------- */

/* The line of the setting that a refusal begins with, else of the section. */
static uint32_t line_of(const struct apply *apply,
                        const struct apply_change *change,
                        const char *detail)
{
    const char *name = NULL;
    json_t *line = NULL;

    for (size_t index = 0; index < apply->file.count; index++) {
        const struct apply_section *section = &apply->file.sections[index];
        if (section->line != change->line) {
            continue;
        }
        json_object_foreach(section->lines, name, line)
        {
            size_t size = strlen(name);
            if (strncmp(detail, name, size) == 0 &&
                (detail[size] == ' ' || detail[size] == ':')) {
                return (uint32_t)json_integer_value(line);
            }
        }
    }
    return change->line;
}

/* Say one thing that the server refuses, with the place in the file. */
static void complain_of(const struct apply *apply,
                        const struct apply_change *change,
                        const char *detail)
{
    if (change->line > 0) {
        (void)fprintf(stderr, "%s:%u: %s\n", apply->path,
                      line_of(apply, change, detail), detail);
    } else {
        (void)fprintf(stderr, "%s %s: %s\n", apply_file_kind_text(change->kind),
                      json_string_value(change->name), detail);
    }
}

/* Say all that the server refuses of a change. */
static void complain_change(const struct apply *apply,
                            const struct apply_change *change)
{
    const struct buf *body = &apply->call.response.body;
    json_t *problem = json_loadb(body->data, body->size, 0, NULL);
    const json_t *errors = json_object_get(problem, "errors");
    size_t index = 0;
    json_t *error = NULL;

    if (json_array_size(errors) == 0) {
        complain_of(apply, change, cli_text(problem, "detail"));
    }
    json_array_foreach((json_t *)errors, index, error)
    {
        const char *text = json_string_value(error);
        complain_of(apply, change, text != NULL ? text : "");
    }
    json_decref(problem);
}

static int carry_out(struct apply *apply, const struct apply_change *change)
{
    bool deletes = change->action == APPLY_DELETE;
    char *body = deletes ? NULL : json_dumps(change->body, JSON_COMPACT);
    struct buf target = {0};

    append_target(&target, change->kind, json_string_value(change->topic),
                  json_string_value(change->name));
    apply->call.silent = true;
    int code =
        cli_list_request(&apply->call, deletes ? "DELETE" : "PUT", &target,
                         body != NULL ? str_from(body) : (struct str){NULL, 0});
    apply->call.silent = false;
    free(body);
    buf_fini(&target);
    if (code == CLI_EXIT_FAILED) {
        complain_change(apply, change);
    } else if (code != CLI_EXIT_OK) {
        (void)cli_complain(&apply->call, code, "%s does not answer any more",
                           apply->call.url);
    }
    return code;
}

static int carry_out_all(struct apply *apply, size_t *done)
{
    struct progress progress;
    int code = CLI_EXIT_OK;

    progress_begin(&progress);
    for (*done = 0; *done < apply->plan.count;) {
        code = carry_out(apply, &apply->plan.changes[*done]);
        if (code != CLI_EXIT_OK) {
            break;
        }
        (*done)++;
        progress_show(&progress, *done, apply->plan.count, "changes");
    }
    progress_end(&progress);
    return code;
}

/* Whether what goes may go: --yes, or whoever is at the terminal says so. */
static bool may_delete(const struct apply *apply)
{
    char answer[8] = "";
    size_t count = 0;

    for (size_t index = 0; index < apply->plan.count; index++) {
        count += apply->plan.changes[index].action == APPLY_DELETE ? 1 : 0;
    }
    if (count == 0 || apply->yes) {
        return true;
    }
    if (!file_is_terminal(STDIN_FD)) {
        return false;
    }
    (void)fprintf(stderr, "Delete %zu, topics with their messages? [y/N] ",
                  count);
    return fgets(answer, sizeof(answer), stdin) != NULL &&
           (answer[0] == 'y' || answer[0] == 'Y');
}

/* --- export --------------------------------------------------------------- */

static void append_line(struct buf *to, const char *name, const json_t *value)
{
    json_t *text = cli_apply_plan_text(value);

    buf_append_format(to, "%s = ", name);
    apply_file_write_value(to, json_is_true(value) ? "yes"
                               : text != NULL      ? json_string_value(text)
                                                   : "");
    buf_append_byte(to, '\n');
    json_decref(text);
}

/* The settings that are not the default. */
static void
append_settings(struct buf *to, const json_t *schema, const json_t *settings)
{
    const json_t *properties = json_object_get(schema, "properties");
    const char *name = NULL;
    json_t *value = NULL;

    json_object_foreach((json_t *)settings, name, value)
    {
        const json_t *property = json_object_get(properties, name);
        if (!json_equal(value, json_object_get(property, "default"))) {
            append_line(to, name, value);
        }
    }
    buf_append_byte(to, '\n');
}

static void append_schedule(struct buf *to, const char *id, const json_t *now)
{
    json_t *flat = cli_apply_plan_flatten(json_object_get(now, "definition"));
    const char *name = NULL;
    json_t *value = NULL;

    apply_file_write_head(to, APPLY_SCHEDULE, NULL, id);
    (void)json_object_del(flat, "paused");
    json_object_foreach(flat, name, value)
    {
        append_line(to, name, value);
    }
    if (json_is_true(json_object_get(now, "paused"))) {
        buf_append_c(to, "paused = yes\n");
    }
    buf_append_byte(to, '\n');
    json_decref(flat);
}

static int export_state(const struct apply *apply)
{
    const char *topic = NULL;
    const char *name = NULL;
    json_t *item = NULL;
    json_t *one = NULL;
    struct buf text = {0};

    json_object_foreach(apply->topics, topic, item)
    {
        if (is_ours(item)) {
            apply_file_write_head(&text, APPLY_TOPIC, NULL, topic);
            append_settings(&text, schema_of(apply, APPLY_TOPIC),
                            json_object_get(item, "settings"));
        }
        json_object_foreach(json_object_get(apply->subscriptions, topic), name,
                            one)
        {
            apply_file_write_head(&text, APPLY_SUBSCRIPTION, topic, name);
            append_settings(&text, schema_of(apply, APPLY_SUBSCRIPTION),
                            json_object_get(one, "settings"));
        }
    }
    json_object_foreach(apply->schedules, name, item)
    {
        append_schedule(&text, name, item);
    }
    return cli_print(&text);
}

/* --- the command ---------------------------------------------------------- */

static int read_definitions(struct apply *apply)
{
    struct buf text = {0};
    struct buf errors = {0};

    int code = cli_read_input(&apply->call, apply->path, &text);
    if (code == CLI_EXIT_OK) {
        enum err err = apply_file_parse(apply->path, buf_str(&text),
                                        &apply->file, &errors);
        if (err != ERR_OK) {
            (void)fprintf(stderr, "%.*s", STR_ARG(buf_str(&errors)));
            code = CLI_EXIT_FAILED;
        }
    }
    buf_fini(&text);
    buf_fini(&errors);
    return code;
}

static int change_state(struct apply *apply)
{
    size_t done = 0;

    if (!check_names(apply)) {
        return CLI_EXIT_FAILED;
    }
    int code = make_plan(apply);
    if (code == CLI_EXIT_OK && !apply->call.json) {
        code = show_plan(apply);
    }
    if (code == CLI_EXIT_OK && !apply->dry_run) {
        code = may_delete(apply)
                   ? carry_out_all(apply, &done)
                   : cli_complain(&apply->call, CLI_EXIT_FAILED,
                                  "nothing was changed: to delete needs --yes");
    }
    if (apply->call.json) {
        int printed = print_json(apply, done);
        code = code == CLI_EXIT_OK ? printed : code;
    }
    return code;
}

static int run(struct apply *apply)
{
    bool exports = apply->export;
    int code = CLI_EXIT_OK;

    if (exports != (apply->call.word_count == 0)) {
        return cli_complain(&apply->call, CLI_EXIT_USAGE,
                            "give a FILE, or --export");
    }
    apply->path = apply->call.words[0];
    if (!exports) {
        code = read_definitions(apply);
    }
    code = code == CLI_EXIT_OK ? ask_state(apply) : code;
    if (code == CLI_EXIT_OK) {
        code = exports ? export_state(apply) : change_state(apply);
    }
    apply_file_fini(&apply->file);
    cli_apply_plan_fini(&apply->plan);
    json_decref(apply->schemas);
    json_decref(apply->topics);
    json_decref(apply->schedules);
    json_decref(apply->subscriptions);
    return code;
}

int cli_apply(int argument_count, char *const *arguments)
{
    struct apply apply = {
        .call = {.command = "apply",
                 .usage = "FILE|- [--dry-run] [--prune [--yes]] [--json] |\n"
                          "    --export\n"
                          "Makes topics, subscriptions and schedules what a "
                          "file says, and shows what that\nchanges. --prune "
                          "deletes what is not in it; --export prints a file "
                          "of what there is."}};
    const struct cli_option options[] = {
        {"dry-run", NULL, &apply.dry_run, NULL},
        {"prune", NULL, &apply.prune, NULL},
        {"yes", NULL, &apply.yes, NULL},
        {"export", NULL, &apply.export, NULL},
        {NULL, NULL, NULL, NULL},
    };
    int code = cli_parse(&apply.call, argument_count, arguments, options, 0, 1);

    if (code == CLI_EXIT_OK && !apply.call.help) {
        code = run(&apply);
    }
    cli_call_fini(&apply.call);
    return code;
}
