/* The program: serves, or runs a subcommand.
 *
 *     opq [serve] [flags]      serve
 *     opq push|topics|...      see cli/
 *     opq help | version
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/metrics.h"
#include "base/buf.h"
#include "cli/cli.h"
#include "queue/settings.h"
#include "server/config.h"
#include "server/listen.h"
#include "server/restart.h"
#include "server/server.h"
#include "sys/process.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

extern char **environ;

static void print_help(FILE *to)
{
    (void)fputs("opq " OPQ_VERSION ", a persistent push message queue\n"
                "\n"
                "  opq [serve] [flags]     serve; without flags on port 8999, "
                "data in ./opq-data\n"
                "  opq help                this\n"
                "  opq version             the version\n",
                to);
    cli_help(to);
    (void)fputs(
        "\nopq SUBCOMMAND --help tells its arguments. They speak to the "
        "server at --url URL,\nelse OPQ_URL, else "
        "http://127.0.0.1:8999; --json prints for programs.\n",
        to);
    (void)fputs("\nFlags of serve, with one dash or two, and a blank or '='; "
                "each is also a line of\nthe file given by --config FILE and "
                "an environment variable OPQ_<NAME>.\n"
                "--check-config tells what is wrong with them, and ends.\n",
                to);
    config_help(to);
}

/* Say what is wrong with the settings. */
static int refuse(enum err err, struct buf *errors)
{
    (void)fprintf(stderr, "%.*s", STR_ARG(buf_str(errors)));
    buf_fini(errors);
    return err == ERR_INVALID ? SERVER_EXIT_CONFIG : SERVER_EXIT_SOFTWARE;
}

/* `addresses`: of a server that is to restart (restart.h); NULL: of none. */
static int check(const struct config *config, const char *addresses)
{
    struct buf errors = {0};

    enum err err = server_check(config, &errors);
    if (err == ERR_OK && addresses != NULL) {
        err = listen_try(config, str_from(addresses), &errors);
    }
    if (err != ERR_OK) {
        return refuse(err, &errors);
    }
    buf_fini(&errors);
    (void)printf("%s: the settings are right\n",
                 config->file != NULL ? config->file : "opq");
    if (addresses != NULL) {
        (void)fputs(RESTART_CHECK_LINE "\n", stderr);
    }
    return SERVER_EXIT_OK;
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-help") == 0 ||
           strcmp(word, "-h") == 0;
}

/* Keep freed memory of the size that a burst takes, instead of giving it back
 * and faulting it in again with each flush. */
static void tune_memory(void)
{
    enum {
        KEPT_SIZE = 16 << 20,  /* bytes of the top of a heap */
        MAPPED_SIZE = 4 << 20, /* of an allocation that is mapped alone */
    };
    (void)mallopt(M_TRIM_THRESHOLD, KEPT_SIZE);
    (void)mallopt(M_MMAP_THRESHOLD, MAPPED_SIZE);
}

/* Serve with `arguments`, of `all` that the program got. */
static int serve(char *const *arguments, char *const *all)
{
    struct config config;
    struct buf errors = {0};
    struct restart_start start = {.arguments = all};
    const char *addresses = NULL;

    for (char *const *at = arguments; *at != NULL; at++) {
        if (is_help(*at)) {
            print_help(stdout);
            return SERVER_EXIT_OK;
        }
    }
    if (!restart_may_take_over(&errors, &addresses)) {
        return refuse(ERR_INVALID, &errors);
    }
    enum err err = handover_take(&start.handover);
    if (err != ERR_OK) {
        handover_back(&start.handover, all);
        buf_append_format(&errors, "what the former process left: %s\n",
                          err_text(err));
        return refuse(err, &errors);
    }
    err = config_read(arguments, environ, &config, &errors);
    if (err != ERR_OK) {
        handover_back(&start.handover, all);
        return refuse(err, &errors);
    }
    buf_fini(&errors);
    tune_memory();
    int code = config.check_only ? check(&config, addresses)
                                 : server_run(&config, &start);
    handover_end(&start.handover);
    config_fini(&config);
    return code;
}

/* Print what documents are made from and compared with, tables of settings and
 * metrics. Returns false when `command` is none of them. */
static bool print_document(const char *command)
{
    struct buf text = {0};

    if (strcmp(command, "settings-manual") == 0) {
        config_manual(stdout);
        return true;
    }
    if (strcmp(command, "topic-settings-manual") == 0) {
        settings_manual(SETTINGS_TOPIC, &text);
    } else if (strcmp(command, "topic-settings-table") == 0) {
        settings_table(SETTINGS_TOPIC, &text);
    } else if (strcmp(command, "subscription-settings-table") == 0) {
        settings_table(SETTINGS_SUBSCRIPTION, &text);
    } else if (strcmp(command, "metrics-table") == 0) {
        metrics_table(&text);
    } else {
        return false;
    }
    (void)fwrite(text.data, 1, text.size, stdout);
    buf_fini(&text);
    return true;
}

int main(int argument_count, char **arguments)
{
    const char *command = argument_count > 1 ? arguments[1] : "serve";

    process_hold_standard();
    if (strcmp(command, "help") == 0) {
        print_help(stdout);
        return SERVER_EXIT_OK;
    }
    if (strcmp(command, "version") == 0 || strcmp(command, "--version") == 0) {
        (void)puts("opq " OPQ_VERSION);
        return SERVER_EXIT_OK;
    }
    if (print_document(command)) {
        return SERVER_EXIT_OK;
    }
    if (command[0] == '-' || argument_count <= 1) {
        return serve(arguments + (argument_count > 1 ? 1 : argument_count),
                     arguments);
    }
    if (strcmp(command, "serve") == 0) {
        return serve(arguments + 2, arguments);
    }
    return cli_main(command, argument_count - 2, arguments + 2);
}
