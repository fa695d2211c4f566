/* The subcommands: which there are, and what they share.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli.h"

#include "cli/cli_internal.h"
#include "cli/table.h"
#include "sys/file.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { READ_SIZE = 64 * 1024 };

static const char default_url[] = "http://127.0.0.1:8999";

/* Asked what options a subcommand has, instead of running it: see
 * cli_show_options(). */
static struct cli_options_visit *options_visit;

static const struct cli_command commands[] = {
    {"push", cli_push, "push one message"},
    {"batch", cli_batch, "push many: NDJSON from a file or standard input"},
    {"info", cli_info, "show a server's version, limits and figures"},
    {"stats", cli_stats, "show a server's figures, for people"},
    {"top", cli_top, "watch a server: rates, lag, endpoints"},
    {"topics", cli_topics, "list topics, or show one"},
    {"message", cli_message, "show a message, where it stands and why"},
    {"tail", cli_tail, "print a topic's messages, and follow it"},
    {"delayed", cli_delayed, "list what is not due yet, show or cancel of it"},
    {"replay", cli_replay, "deliver a topic again from a sequence number on"},
    {"pause", cli_pause, "hold a topic's deliveries"},
    {"resume", cli_resume, "go on with them"},
    {"set", cli_set, "change a topic's settings"},
    {"purge", cli_purge, "drop a topic's messages"},
    {"delete", cli_delete, "delete a topic"},
    {"events", cli_events, "print what goes wrong on the server, and follow"},
    {"endpoints", cli_endpoints, "list endpoints, and reset or release one"},
    {"schedules", cli_schedules, "list schedules, and change or run one"},
    {"subscriptions", cli_subscriptions,
     "list a topic's subscriptions, and change one"},
    {"pull", cli_pull,
     "print a pull subscription's messages, acknowledge them"},
    {"replays", cli_replays,
     "deliver a part of a topic again beside live delivery"},
    {"dlq", cli_dlq, "list dead letters, send them again, drop them"},
    {"reload", cli_reload, "have a server read its settings and keys anew"},
    {"token", cli_token, "make a token, and its line of the file of tokens"},
    {"verify", cli_verify, "read all of a data directory: is it whole?"},
    {"dump", cli_dump, "print messages of a data directory"},
    {"repair", cli_repair, "mend a data directory, say what is lost"},
    {"grep", cli_grep, "find messages of a data directory by a pattern"},
    {"export", cli_export, "write topics of a data directory as lines"},
    {"import", cli_import, "restore an export, or take over the first OPQ's"},
    {"apply", cli_apply,
     "make topics, subscriptions and schedules as a file has them"},
    {"dev", cli_dev, "try it: a server on temporary data, and a receiver"},
    {"sink", cli_sink, "a receiver that counts, and can misbehave"},
    {"bench", cli_bench, "push as fast as a server answers, and measure it"},
    {"completion", cli_completion, "print what completes in a shell"},
};

enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]) };

int cli_main(const char *command, int argument_count, char *const *arguments)
{
    for (unsigned index = 0; index < COMMAND_COUNT; index++) {
        if (strcmp(commands[index].name, command) == 0) {
            return commands[index].run(argument_count, arguments);
        }
    }
    (void)fprintf(stderr, "opq: unknown subcommand: %s\n", command);
    cli_help(stderr);
    return CLI_EXIT_USAGE;
}

void cli_help(FILE *to)
{
    for (unsigned index = 0; index < COMMAND_COUNT; index++) {
        (void)fprintf(to, "  %-13s %s\n", commands[index].name,
                      commands[index].text);
    }
}

bool cli_command(unsigned index, struct cli_command *out)
{
    if (index >= COMMAND_COUNT) {
        return false;
    }
    *out = commands[index];
    return true;
}

/* --- command lines -------------------------------------------------------- */

int cli_complain(const struct cli_call *call, int code, const char *format, ...)
{
    va_list arguments;

    if (call->silent) {
        return code;
    }
    (void)fprintf(stderr, "opq %s: ", call->command);
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
    return code;
}

static void print_usage(const struct cli_call *call, FILE *to)
{
    (void)fprintf(to, "usage: opq %s %s\n", call->command, call->usage);
}

/* The option that an argument names; NULL when there is none. */
static const struct cli_option *find_option(const struct cli_option *options,
                                            struct str name)
{
    for (; options->name != NULL; options++) {
        if (str_equal(str_from(options->name), name)) {
            return options;
        }
    }
    return NULL;
}

/* Take one option; `*index` goes on over its value. */
static int take_option(struct cli_call *call,
                       const struct cli_option *options,
                       int argument_count,
                       char *const *arguments,
                       int *index)
{
    struct str text = str_from(arguments[*index]);
    size_t dashes = str_starts(text, STR("--")) ? 2 : 1;
    struct str name = str_cut(text, dashes, text.size);
    size_t equals = str_find(name, '=');
    const struct cli_option *option =
        find_option(options, str_cut(name, 0, equals));

    if (option == NULL) {
        return cli_complain(call, CLI_EXIT_USAGE, "unknown option %s",
                            arguments[*index]);
    }
    if (option->flag != NULL) {
        *option->flag = true;
        return equals == name.size
                   ? CLI_EXIT_OK
                   : cli_complain(call, CLI_EXIT_USAGE, "--%s takes no value",
                                  option->name);
    }
    const char *value = name.data + equals + 1;
    if (equals == name.size) {
        if (*index + 1 >= argument_count) {
            return cli_complain(call, CLI_EXIT_USAGE, "--%s needs a value",
                                option->name);
        }
        *index += 1;
        value = arguments[*index];
    }
    if (option->repeats == NULL) {
        *option->value = value;
        return CLI_EXIT_OK;
    }
    if (option->repeats->count == CLI_REPEATS_MAX) {
        return cli_complain(call, CLI_EXIT_USAGE, "too many of --%s",
                            option->name);
    }
    option->repeats->values[option->repeats->count] = value;
    option->repeats->count++;
    return CLI_EXIT_OK;
}

enum { COMMON_COUNT = 6 };

/* The options that all subcommands have, and an end. */
static void list_common(struct cli_call *call,
                        struct cli_option to[COMMON_COUNT])
{
    const struct cli_option common[COMMON_COUNT] = {
        {"url", &call->url, NULL, NULL},
        {"ca-file", &call->ca_file, NULL, NULL},
        {"token-file", &call->token_file, NULL, NULL},
        {"json", NULL, &call->json, NULL},
        {"help", NULL, &call->help, NULL},
        {NULL, NULL, NULL, NULL},
    };

    memcpy(to, common, sizeof(common));
}

/* Tell the options instead of running, as if --help were given. */
static int tell_options(struct cli_call *call, const struct cli_option *options)
{
    struct cli_option common[COMMON_COUNT];
    const struct cli_option *const tables[] = {options, common};

    list_common(call, common);
    for (unsigned table = 0; table < 2; table++) {
        for (const struct cli_option *option = tables[table];
             option->name != NULL; option++) {
            options_visit->visit(options_visit->context, option->name,
                                 option->flag == NULL);
        }
    }
    call->help = true;
    return CLI_EXIT_OK;
}

void cli_show_options(const struct cli_command *command,
                      struct cli_options_visit *visit)
{
    options_visit = visit;
    (void)command->run(0, NULL);
    options_visit = NULL;
}

/* Take an argument: a common option, one of the subcommand's, or a word. */
static int take_argument(struct cli_call *call,
                         const struct cli_option *options,
                         int argument_count,
                         char *const *arguments,
                         int *index)
{
    struct cli_option common[COMMON_COUNT];
    struct str text = str_from(arguments[*index]);

    list_common(call, common);
    if (text.size < 2 || text.data[0] != '-') {
        if (call->word_count == CLI_WORDS_MAX) {
            return cli_complain(call, CLI_EXIT_USAGE, "too many arguments");
        }
        call->words[call->word_count] = arguments[*index];
        call->word_count++;
        return CLI_EXIT_OK;
    }
    struct str name = str_cut(text, text.data[1] == '-' ? 2 : 1, text.size);
    name = str_cut(name, 0, str_find(name, '='));
    return take_option(call,
                       find_option(common, name) != NULL ? common : options,
                       argument_count, arguments, index);
}

/* A variable of the environment; `otherwise` when it is not set, or empty. */
static const char *from_environment(const char *name, const char *otherwise)
{
    const char *value = getenv(name);

    return value != NULL && value[0] != '\0' ? value : otherwise;
}

int cli_parse(struct cli_call *call,
              int argument_count,
              char *const *arguments,
              const struct cli_option *options,
              uint32_t word_min,
              uint32_t word_max)
{
    bool words_only = false;

    if (options_visit != NULL) {
        return tell_options(call, options);
    }
    call->url = from_environment("OPQ_URL", default_url);
    call->ca_file = from_environment("OPQ_CA_FILE", NULL);
    for (int index = 0; index < argument_count; index++) {
        int code = CLI_EXIT_OK;
        if (!words_only && strcmp(arguments[index], "--") == 0) {
            words_only = true;
        } else if (words_only && call->word_count < CLI_WORDS_MAX) {
            call->words[call->word_count] = arguments[index];
            call->word_count++;
        } else {
            code =
                take_argument(call, options, argument_count, arguments, &index);
        }
        if (code != CLI_EXIT_OK) {
            print_usage(call, stderr);
            return code;
        }
    }
    if (call->help) {
        print_usage(call, stdout);
        return CLI_EXIT_OK;
    }
    if (call->word_count < word_min || call->word_count > word_max) {
        print_usage(call, stderr);
        return CLI_EXIT_USAGE;
    }
    return cli_find_token(call);
}

void cli_call_fini(struct cli_call *call)
{
    remote_close(call->remote);
    remote_response_fini(&call->response);
    if (call->authorization.data != NULL) {
        explicit_bzero(call->authorization.data, call->authorization.size);
    }
    buf_fini(&call->authorization);
}

/* --- requests ------------------------------------------------------------- */

static int complain_remote(const struct cli_call *call, enum err err)
{
    if (err == ERR_INVALID) {
        return cli_complain(call, CLI_EXIT_USAGE,
                            "not an address: %s (http://HOST:PORT, "
                            "https://HOST:PORT or unix:PATH)",
                            call->url);
    }
    return cli_complain(call, CLI_EXIT_UNREACHABLE, "%s: %s", call->url,
                        err == ERR_TLS ? remote_detail(call->remote)
                                       : err_text(err));
}

/* Say what an answer that is no success says. */
static int complain_response(const struct cli_call *call)
{
    const struct buf *body = &call->response.body;
    json_t *document = json_loadb(body->data, body->size, 0, NULL);
    const char *detail = cli_text(document, "detail");
    const char *title = cli_text(document, "title");
    const json_t *errors = json_object_get(document, "errors");
    size_t index = 0;
    json_t *error = NULL;

    (void)cli_complain(call, CLI_EXIT_FAILED, "%d %s", call->response.status,
                       detail[0] != '\0' ? detail : title);
    json_array_foreach((json_t *)errors, index, error)
    {
        const char *text = json_string_value(error);
        if (text != NULL && strcmp(text, detail) != 0) {
            (void)cli_complain(call, CLI_EXIT_FAILED, "%d %s",
                               call->response.status, text);
        }
    }
    json_decref(document);
    return CLI_EXIT_FAILED;
}

bool cli_is_passing(const struct cli_call *call, int code)
{
    int status = call->response.status;

    return code == CLI_EXIT_UNREACHABLE ||
           (code == CLI_EXIT_FAILED &&
            (status == 502 || status == 503 || status == 504));
}

int cli_complain_answer(const struct cli_call *call, int code)
{
    return code == CLI_EXIT_FAILED && call->response.status > 0
               ? complain_response(call)
               : cli_complain(call, code, "%s does not answer", call->url);
}

int cli_request(struct cli_call *call, const struct remote_request *request)
{
    enum err err = ERR_OK;

    if (call->remote == NULL) {
        err = remote_open(call->url, call->ca_file, &call->remote);
        if (err == ERR_OK) {
            remote_set_headers(call->remote, buf_str(&call->authorization));
        }
    }
    if (err == ERR_OK && call->wait_ms > 0) {
        remote_set_wait(call->remote, call->wait_ms);
    }
    if (err == ERR_OK) {
        err = remote_send(call->remote, request, &call->response);
    }
    if (err != ERR_OK) {
        call->response.status = 0;
        return complain_remote(call, err);
    }
    return call->response.status < 300 ? CLI_EXIT_OK : complain_response(call);
}

int cli_get_json(struct cli_call *call, struct str target, json_t **out)
{
    const struct remote_request request = {.method = "GET", .target = target};
    json_error_t error;
    int code = cli_request(call, &request);

    if (code != CLI_EXIT_OK) {
        return code;
    }
    json_t *document = json_loadb(call->response.body.data,
                                  call->response.body.size, 0, &error);
    if (!json_is_object(document)) {
        json_decref(document);
        return cli_complain(call, CLI_EXIT_FAILED,
                            "%s does not answer as OPQ does", call->url);
    }
    *out = document;
    return CLI_EXIT_OK;
}

const char *cli_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text != NULL ? text : "";
}

uint64_t cli_number(const json_t *object, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(object, name));

    return value > 0 ? (uint64_t)value : 0;
}

/* --- input ---------------------------------------------------------------- */

/* Read all of a stream. */
static enum err read_all(FILE *from, struct buf *to)
{
    for (;;) {
        if (buf_reserve(to, READ_SIZE) != ERR_OK) {
            return ERR_NOMEM;
        }
        size_t size = fread(to->data + to->size, 1, READ_SIZE, from);
        to->size += size;
        if (size == 0) {
            return ferror(from) != 0 ? ERR_IO : ERR_OK;
        }
    }
}

int cli_read_input(const struct cli_call *call,
                   const char *path,
                   struct buf *to)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *from = standard ? stdin : fopen(path, "rb");

    if (from == NULL) {
        return cli_complain(call, CLI_EXIT_FAILED, "cannot read %s", path);
    }
    enum err err = read_all(from, to);
    if (!standard) {
        (void)fclose(from);
    }
    return err == ERR_OK ? CLI_EXIT_OK
                         : cli_complain(call, CLI_EXIT_FAILED, "%s: %s", path,
                                        err_text(err));
}

/* --- printing ------------------------------------------------------------- */

int cli_print(struct buf *text)
{
    bool good = !text->failed &&
                fwrite(text->data, 1, text->size, stdout) == text->size &&
                fflush(stdout) == 0;

    buf_fini(text);
    return good ? CLI_EXIT_OK : CLI_EXIT_FAILED;
}

bool cli_colours(void)
{
    enum { STDOUT_FD = 1 };

    return file_is_terminal(STDOUT_FD) &&
           from_environment("NO_COLOR", NULL) == NULL;
}

void cli_print_line(const json_t *document)
{
    (void)json_dumpf(document, stdout, CLI_JSON);
    (void)fputc('\n', stdout);
}

int cli_print_object(const json_t *object)
{
    struct table table;
    struct buf text = {0};
    const char *name = NULL;
    json_t *value = NULL;

    table_init(&table, 2, 0);
    json_object_foreach((json_t *)object, name, value)
    {
        char *dumped = json_is_string(value)
                           ? NULL
                           : json_dumps(value, JSON_ENCODE_ANY | CLI_JSON);
        table_add(&table, name);
        table_add(&table, dumped != NULL ? dumped : cli_text(object, name));
        free(dumped);
    }
    table_print(&table, &text);
    table_fini(&table);
    return cli_print(&text);
}

int cli_print_response(const struct cli_call *call)
{
    struct buf text = {0};

    buf_append_str(&text, buf_str(&call->response.body));
    if (text.size > 0 && text.data[text.size - 1] != '\n') {
        buf_append_byte(&text, '\n');
    }
    return cli_print(&text);
}

int cli_print_if_json(const struct cli_call *call)
{
    return call->json ? cli_print_response(call) : CLI_EXIT_OK;
}

void cli_append_size(struct buf *to, uint64_t bytes)
{
    static const char units[] = "KMGTPE";
    double value = (double)bytes;
    unsigned unit = 0;

    if (bytes < 1024) {
        buf_append_u64(to, bytes);
        return;
    }
    value /= 1024;
    while (value >= 1024 && units[unit + 1] != '\0') {
        value /= 1024;
        unit++;
    }
    buf_append_format(to, value < 10 ? "%.1f%c" : "%.0f%c", value, units[unit]);
}

void cli_append_span(struct buf *to, uint64_t ms)
{
    static const struct {
        uint64_t ms;
        char unit;
    } units[] = {{86400000, 'd'}, {3600000, 'h'}, {60000, 'm'}, {1000, 's'}};

    for (unsigned index = 0; index < sizeof(units) / sizeof(units[0]);
         index++) {
        if (ms >= units[index].ms) {
            double value = (double)ms / (double)units[index].ms;
            buf_append_format(to, value < 10 ? "%.1f%c" : "%.0f%c", value,
                              units[index].unit);
            return;
        }
    }
    buf_append_format(to, "%llums", (unsigned long long)ms);
}
