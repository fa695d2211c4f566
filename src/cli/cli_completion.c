/* Subcommand completion: scripts that complete in bash, zsh and fish.
 *
 * The scripts are made of what the program knows: the subcommands of its table,
 * the options that each takes when it runs, the settings of the server. Only
 * what the words behind a subcommand are is said here. Names of topics are
 * asked for while one types, with `opq completion topics`, which says nothing
 * when no server answers within a second.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_internal.h"

#include <stdio.h>
#include <string.h>

enum { TOPICS_WAIT_MS = 1000 };

/* The settings of the server, as flags of serve. */
static const char *const settings[] = {
#define GROUP(text)
#define SETTING(name, type, value, min, max, text) #name,
#include "server/config.def"
#undef GROUP
#undef SETTING
    "config"};

enum { SETTING_COUNT = sizeof(settings) / sizeof(settings[0]) };

/* What stands behind a subcommand: words of which one is taken, or "@topic";
 * "" is anything, and completes names of files. */
struct places {
    const char *command;
    const char *first;
    const char *second;
};

static const struct places all_places[] = {
    {"push", "@topic", ""},
    {"topics", "@topic", ""},
    {"message", "@topic", ""},
    {"tail", "@topic", ""},
    {"replay", "@topic", ""},
    {"pause", "@topic", ""},
    {"resume", "@topic", ""},
    {"set", "@topic", ""},
    {"purge", "@topic", ""},
    {"delete", "@topic", ""},
    {"pull", "@topic", ""},
    {"dump", "@topic", ""},
    {"delayed", "list show cancel", ""},
    {"endpoints", "list show reset release", ""},
    {"schedules", "list show set rm pause resume run", ""},
    {"subscriptions", "list show set rm pause resume replay", "@topic"},
    {"replays", "list start show cancel pause resume", "@topic"},
    {"dlq", "list retry drop", ""},
    {"bench", "push", ""},
    {"completion", "bash zsh fish", ""},
};

static const struct places *places_of(const char *command)
{
    static const struct places none = {"", "", ""};

    for (unsigned index = 0; index < sizeof(all_places) / sizeof(all_places[0]);
         index++) {
        if (strcmp(all_places[index].command, command) == 0) {
            return &all_places[index];
        }
    }
    return &none;
}

/* --- options -------------------------------------------------------------- */

/* The options of a subcommand as text, apart by blanks. */
struct options {
    struct buf flags;
    struct buf valued;
};

static void append_option(struct buf *to, const char *name)
{
    buf_append_c(to, to->size > 0 ? " " : "");
    buf_append_c(to, name[1] == '\0' ? "-" : "--");
    for (; *name != '\0'; name++) {
        buf_append_byte(to, *name == '_' ? '-' : *name);
    }
}

static void note_option(void *context, const char *name, bool takes_value)
{
    struct options *options = context;

    append_option(takes_value ? &options->valued : &options->flags, name);
}

static void options_of(const struct cli_command *command, struct options *out)
{
    struct cli_options_visit visit = {note_option, out};

    if (command->run != NULL) {
        cli_show_options(command, &visit);
        return;
    }
    for (unsigned index = 0; index < SETTING_COUNT; index++) {
        append_option(&out->valued, settings[index]);
    }
    append_option(&out->flags, "check-config");
    append_option(&out->flags, "help");
}

static void options_fini(struct options *options)
{
    buf_fini(&options->flags);
    buf_fini(&options->valued);
}

/* The words that may stand first: subcommands, and those of the program. */
static bool command_at(unsigned index, struct cli_command *out)
{
    static const struct cli_command own[] = {
        {"serve", NULL, "serve; it is what opq does without a subcommand"},
        {"help", NULL, "tell what there is"},
        {"version", NULL, "tell the version"},
    };
    enum { OWN = sizeof(own) / sizeof(own[0]) };

    if (index < OWN) {
        *out = own[index];
        return true;
    }
    return cli_command(index - OWN, out);
}

/* Whether there are options behind it. */
static bool has_options(const struct cli_command *command)
{
    return command->run != NULL || strcmp(command->name, "serve") == 0;
}

/* --- bash and zsh --------------------------------------------------------- */

static void append_commands(struct buf *to)
{
    struct cli_command command;

    for (unsigned index = 0; command_at(index, &command); index++) {
        buf_append_c(to, index > 0 ? " " : "");
        buf_append_c(to, command.name);
    }
}

/* The lines of a `case` that set flags, valued, first and second. */
static void append_cases(struct buf *to)
{
    struct cli_command command;

    for (unsigned index = 0; command_at(index, &command); index++) {
        const struct places *places = places_of(command.name);
        struct options options = {{0}, {0}};
        if (!has_options(&command)) {
            continue;
        }
        options_of(&command, &options);
        buf_append_format(to, "    %s)\n        flags='", command.name);
        buf_append_str(to, buf_str(&options.flags));
        buf_append_c(to, "'\n        valued='");
        buf_append_str(to, buf_str(&options.valued));
        buf_append_format(to,
                          "'\n        first='%s'\n        second='%s'\n"
                          "        ;;\n",
                          places->first, places->second);
        options_fini(&options);
    }
}

/* The shell function _opq_look, which both shells understand: it sets what the
 * word at `at` (from 0) of `line` may be: `choices`, words apart by blanks, or
 * "@topic", or "" for a file. `line` is an array that begins at `base`. */
static const char look_begin[] =
    "# Sets choices to what may stand at the cursor: words, @topic, or "
    "nothing\n"
    "# for names of files; and url to the arguments that name the server.\n"
    "_opq_look() {\n"
    "    local flags='' valued='' first='' second=''\n"
    "    local command=$1 current=$2 previous='' word place=0\n"
    "    shift 2\n"
    "    choices=''\n"
    "    url=()\n"
    "    case $command in\n";

static const char look_end[] =
    "    esac\n"
    "    for word in \"$@\"; do\n"
    "        if [[ \" $valued \" == *\" $previous \"* && -n $previous ]]; "
    "then\n"
    "            [[ $previous == --url ]] && url=(--url \"$word\")\n"
    "            previous=''\n"
    "        elif [[ $word == -* ]]; then\n"
    "            previous=$word\n"
    "        else\n"
    "            previous=''\n"
    "            place=$((place + 1))\n"
    "        fi\n"
    "    done\n"
    "    if [[ $previous == --topic ]]; then\n"
    "        choices=@topic\n"
    "    elif [[ \" $valued \" == *\" $previous \"* && -n $previous ]]; then\n"
    "        choices=''\n"
    "    elif [[ $current == -* ]]; then\n"
    "        choices=\"$flags $valued\"\n"
    "    elif [[ $place == 0 ]]; then\n"
    "        choices=$first\n"
    "    elif [[ $place == 1 ]]; then\n"
    "        choices=$second\n"
    "    fi\n"
    "    return 0\n"
    "}\n"
    "\n";

static void append_bash(struct buf *to)
{
    buf_append_c(to, "# Completion of opq in bash; made by opq completion "
                     "bash.\n\n");
    buf_append_c(to, look_begin);
    append_cases(to);
    buf_append_c(to, look_end);
    buf_append_c(to, "_opq() {\n"
                     "    local current=${COMP_WORDS[COMP_CWORD]} choices\n"
                     "    local -a url\n"
                     "    if [[ $COMP_CWORD == 1 ]]; then\n"
                     "        choices='");
    append_commands(to);
    buf_append_c(
        to, "'\n"
            "    else\n"
            "        _opq_look \"${COMP_WORDS[1]}\" \"$current\" \\\n"
            "            \"${COMP_WORDS[@]:2:COMP_CWORD - 2}\"\n"
            "    fi\n"
            "    if [[ $choices == @topic ]]; then\n"
            "        choices=$(\"${COMP_WORDS[0]}\" completion topics "
            "\"${url[@]}\" 2>/dev/null)\n"
            "    elif [[ -z $choices ]]; then\n"
            "        mapfile -t COMPREPLY < <(compgen -f -- \"$current\")\n"
            "        return\n"
            "    fi\n"
            "    mapfile -t COMPREPLY < <(compgen -W \"$choices\" -- "
            "\"$current\")\n"
            "}\n"
            "\n"
            "complete -o filenames -F _opq opq\n");
}

/* Append a text between single quotes. */
static void append_quoted(struct buf *to, const char *text)
{
    buf_append_byte(to, '\'');
    for (; *text != '\0'; text++) {
        if (*text == '\'') {
            buf_append_c(to, "'\\''");
        } else {
            buf_append_byte(to, *text);
        }
    }
    buf_append_byte(to, '\'');
}

static void append_zsh(struct buf *to)
{
    struct cli_command command;

    buf_append_c(to, "#compdef opq\n"
                     "# Completion of opq in zsh; made by opq completion "
                     "zsh.\n\n");
    buf_append_c(to, look_begin);
    append_cases(to);
    buf_append_c(to, look_end);
    buf_append_c(to, "_opq() {\n"
                     "    local choices\n"
                     "    local -a url commands\n"
                     "    if (( CURRENT == 2 )); then\n"
                     "        commands=(\n");
    for (unsigned index = 0; command_at(index, &command); index++) {
        char text[256];
        (void)snprintf(text, sizeof(text), "%s:%s", command.name, command.text);
        buf_append_c(to, "            ");
        append_quoted(to, text);
        buf_append_byte(to, '\n');
    }
    buf_append_c(to, "        )\n"
                     "        _describe command commands\n"
                     "        return\n"
                     "    fi\n"
                     "    _opq_look \"${words[2]}\" \"${words[CURRENT]}\" \\\n"
                     "        \"${(@)words[3,CURRENT-1]}\"\n"
                     "    if [[ $choices == @topic ]]; then\n"
                     "        choices=$(\"${words[1]}\" completion topics $url "
                     "2>/dev/null)\n"
                     "    elif [[ -z $choices ]]; then\n"
                     "        _files\n"
                     "        return\n"
                     "    fi\n"
                     "    compadd -- ${=choices}\n"
                     "}\n"
                     "\n"
                     "if [[ ${funcstack[1]} == _opq ]]; then\n"
                     "    _opq \"$@\"\n"
                     "else\n"
                     "    compdef _opq opq\n"
                     "fi\n");
}

/* --- fish ----------------------------------------------------------------- */

/* A `complete` for each of the options, apart by blanks, of a subcommand. */
static void append_fish_options(struct buf *to,
                                const char *command,
                                struct str options,
                                const char *value)
{
    while (options.size > 0) {
        size_t size = str_find(options, ' ');
        struct str option = str_cut(options, 0, size);
        bool is_long = str_starts(option, STR("--"));
        bool of_topic = str_equal(option, STR("--topic"));
        option = str_cut(option, is_long ? 2 : 1, option.size);
        buf_append_format(
            to, "complete -c opq -n '__opq_behind %s' %s %.*s%s\n", command,
            is_long ? "-l" : "-s", STR_ARG(option),
            of_topic ? " -x -a '(opq completion topics 2>/dev/null)'" : value);
        options = str_cut(options, size + 1, options.size);
    }
}

static void append_fish_place(struct buf *to,
                              const char *command,
                              int place,
                              const char *choices)
{
    if (choices[0] != '\0') {
        buf_append_format(
            to, "complete -c opq -f -n '__opq_at %s %d' -a '%s'\n", command,
            place,
            choices[0] == '@' ? "(opq completion topics 2>/dev/null)"
                              : choices);
    }
}

static void append_fish(struct buf *to)
{
    struct cli_command command;

    buf_append_c(
        to, "# Completion of opq in fish; made by opq completion fish.\n"
            "\n"
            "function __opq_behind\n"
            "    set -l words (commandline -opc)\n"
            "    test (count $words) -ge 2; and test $words[2] = $argv[1]\n"
            "end\n"
            "\n"
            "function __opq_at\n"
            "    set -l words (commandline -opc | string match -v -- '-*')\n"
            "    __opq_behind $argv[1]; and test (count $words) = (math "
            "$argv[2] + 2)\n"
            "end\n"
            "\n");
    for (unsigned index = 0; command_at(index, &command); index++) {
        const struct places *places = places_of(command.name);
        struct options options = {{0}, {0}};
        buf_append_format(to,
                          "complete -c opq -f -n __fish_use_subcommand -a "
                          "%s -d ",
                          command.name);
        append_quoted(to, command.text);
        buf_append_byte(to, '\n');
        if (!has_options(&command)) {
            continue;
        }
        options_of(&command, &options);
        append_fish_options(to, command.name, buf_str(&options.flags), "");
        append_fish_options(to, command.name, buf_str(&options.valued), " -r");
        options_fini(&options);
        append_fish_place(to, command.name, 0, places->first);
        append_fish_place(to, command.name, 1, places->second);
    }
}

/* --- the command ---------------------------------------------------------- */

/* Print the names of topics, a thousand at most, or nothing. */
static int print_topics(struct cli_call *call)
{
    struct buf text = {0};
    json_t *page = NULL;
    json_t *topic = NULL;
    size_t index = 0;

    call->silent = true;
    call->wait_ms = TOPICS_WAIT_MS;
    if (cli_get_json(call, STR("/opq/topics?limit=1000"), &page) !=
        CLI_EXIT_OK) {
        return CLI_EXIT_OK;
    }
    json_array_foreach(json_object_get(page, "topics"), index, topic)
    {
        buf_append_c(&text, cli_text(topic, "name"));
        buf_append_byte(&text, '\n');
    }
    json_decref(page);
    return cli_print(&text);
}

int cli_completion(int argument_count, char *const *arguments)
{
    static const struct cli_option options[] = {{NULL, NULL, NULL, NULL}};
    static const struct {
        const char *name;
        void (*append)(struct buf *to);
    } shells[] = {
        {"bash", append_bash}, {"zsh", append_zsh}, {"fish", append_fish}};
    struct cli_call call = {
        .command = "completion",
        .usage = "bash | zsh | fish | topics\n"
                 "Prints a script that completes commands of opq in a shell; "
                 "topics prints names\nof topics, which the scripts ask for."};
    struct buf text = {0};
    int code = cli_parse(&call, argument_count, arguments, options, 1, 1);

    if (code != CLI_EXIT_OK || call.help) {
        return code;
    }
    code = CLI_EXIT_USAGE;
    if (strcmp(call.words[0], "topics") == 0) {
        code = print_topics(&call);
        cli_call_fini(&call);
        return code;
    }
    for (unsigned index = 0; index < sizeof(shells) / sizeof(shells[0]);
         index++) {
        if (strcmp(shells[index].name, call.words[0]) == 0) {
            shells[index].append(&text);
            code = cli_print(&text);
        }
    }
    if (code == CLI_EXIT_USAGE) {
        code = cli_complain(&call, code, "it is bash, zsh, fish or topics");
    }
    cli_call_fini(&call);
    return code;
}
