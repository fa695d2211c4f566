/* opq token and opq reload, and the token that subcommands ask with.
 *
 * A token never stands on a command line, where every process can read it: it
 * comes from OPQ_TOKEN or the first line of a file.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/json_text.h"
#include "cli/cli_internal.h"
#include "http/parse.h"
#include "sys/clock.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { RANDOM_SIZE = 30, HASH_SIZE = 32, NAME_SIZE_MAX = 64 };

/* --- the token of a call -------------------------------------------------- */

int cli_find_token(struct cli_call *call)
{
    const char *variable = getenv("OPQ_TOKEN");
    struct buf text = {0};
    int code = CLI_EXIT_OK;

    if (call->token_file != NULL) {
        code = cli_read_input(call, call->token_file, &text);
    } else if (variable != NULL) {
        buf_append_c(&text, variable);
    }
    struct str all = buf_str(&text);
    struct str token = str_trim(str_cut(all, 0, str_find(all, '\n')));
    if (token.size > 0 && token.data[token.size - 1] == '\r') {
        token.size--;
    }
    if (code == CLI_EXIT_OK && call->token_file != NULL && token.size == 0) {
        code = cli_complain(call, CLI_EXIT_USAGE,
                            "%s: no token in its first "
                            "line",
                            call->token_file);
    } else if (code == CLI_EXIT_OK && !http_is_field_value(token)) {
        code = cli_complain(call, CLI_EXIT_USAGE,
                            "the token has bytes that none can have");
    } else if (code == CLI_EXIT_OK && token.size > 0) {
        buf_append_c(&call->authorization, "Authorization: Bearer ");
        buf_append_str(&call->authorization, token);
        buf_append_c(&call->authorization, "\r\n");
    }
    if (text.data != NULL) {
        explicit_bzero(text.data, text.size);
    }
    buf_fini(&text);
    return code;
}

/* --- opq token ------------------------------------------------------------ */

static bool is_name(struct str name)
{
    for (size_t i = 0; i < name.size; i++) {
        char byte = name.data[i];
        bool good = (byte >= 'a' && byte <= 'z') ||
                    (byte >= 'A' && byte <= 'Z') ||
                    (byte >= '0' && byte <= '9') || byte == '.' ||
                    byte == '_' || byte == '-';
        if (!good) {
            return false;
        }
    }
    return name.size > 0 && name.size <= NAME_SIZE_MAX;
}

static bool are_scopes(struct str list)
{
    do {
        size_t end = str_find(list, ',');
        struct str word = str_cut(list, 0, end);
        if (!str_equal(word, STR("publish")) && !str_equal(word, STR("read")) &&
            !str_equal(word, STR("admin"))) {
            return false;
        }
        list = str_cut(list, end + 1, list.size);
    } while (list.size > 0);
    return true;
}

/* Make a token of random bytes, of letters and digits and - and _. */
static void make_token(struct buf *to)
{
    char bytes[RANDOM_SIZE];

    clock_random(bytes, sizeof(bytes));
    buf_append_c(to, "opq_");
    size_t start = to->size;
    json_text_append_base64(to, (struct str){bytes, sizeof(bytes)});
    for (size_t i = start; i < to->size; i++) {
        to->data[i] = to->data[i] == '+'   ? '-'
                      : to->data[i] == '/' ? '_'
                                           : to->data[i];
    }
    explicit_bzero(bytes, sizeof(bytes));
}

/* Append the line of a file of tokens. */
static void append_line(struct buf *to,
                        const char *name,
                        const char *scopes,
                        struct str token)
{
    unsigned char hash[HASH_SIZE] = {0};
    unsigned size = 0;

    buf_append_format(to, "%s %s sha256:", name, scopes);
    if (EVP_Digest(token.data, token.size, hash, &size, EVP_sha256(), NULL) !=
        1) {
        to->failed = true;
    }
    for (size_t i = 0; i < sizeof(hash); i++) {
        buf_append_format(to, "%02x", hash[i]);
    }
}

int cli_token(int argument_count, char *const *arguments)
{
    const char *scopes = "publish";
    const struct cli_option options[] = {
        {"scope", &scopes, NULL, NULL},
        {NULL, NULL, NULL, NULL},
    };
    struct cli_call call = {.command = "token",
                            .usage =
                                "NAME [--scope publish,read,admin] [--json]"};
    struct buf token = {0};
    struct buf text = {0};
    int code = cli_parse(&call, argument_count, arguments, options, 1, 1);

    if (code != CLI_EXIT_OK || call.help) {
        cli_call_fini(&call);
        return code;
    }
    if (!is_name(str_from(call.words[0]))) {
        code = cli_complain(&call, CLI_EXIT_USAGE,
                            "a name has 1 to 64 of A-Z a-z 0-9 . _ -");
    } else if (!are_scopes(str_from(scopes))) {
        code = cli_complain(&call, CLI_EXIT_USAGE,
                            "--scope is of publish, read, admin, by commas");
    } else {
        make_token(&token);
        buf_append_c(&text, call.json ? "{\"token\":\"" : "token: ");
        buf_append_str(&text, buf_str(&token));
        buf_append_c(&text, call.json ? "\",\"line\":\"" : "\nline:  ");
        append_line(&text, call.words[0], scopes, buf_str(&token));
        buf_append_c(&text, call.json ? "\"}\n" : "\n");
        code = cli_print(&text);
    }
    buf_fini(&token);
    cli_call_fini(&call);
    return code;
}

/* --- opq reload ----------------------------------------------------------- */

/* Print the differences of a list, a line each. */
static void print_list(const json_t *answer, const char *list, struct buf *to)
{
    size_t index = 0;
    json_t *one = NULL;

    json_array_foreach(json_object_get(answer, list), index, one)
    {
        buf_append_format(to, "%-14s  %s: %s -> %s\n", list,
                          cli_text(one, "name"), cli_text(one, "from"),
                          cli_text(one, "to"));
    }
}

static int print_reload(const struct cli_call *call)
{
    const struct buf *body = &call->response.body;
    json_t *answer = json_loadb(body->data, body->size, 0, NULL);
    struct buf text = {0};
    size_t index = 0;
    json_t *file = NULL;

    print_list(answer, "changed", &text);
    json_array_foreach(json_object_get(answer, "files"), index, file)
    {
        buf_append_format(&text, "%-14s  %s\n", "file",
                          json_string_value(file));
    }
    print_list(answer, "restart_needed", &text);
    if (text.size == 0) {
        buf_append_c(&text, "nothing has changed\n");
    }
    json_decref(answer);
    return cli_print(&text);
}

int cli_reload(int argument_count, char *const *arguments)
{
    static const struct cli_option options[] = {{NULL, NULL, NULL, NULL}};
    const struct remote_request request = {.method = "POST",
                                           .target = STR("/opq/reload")};
    struct cli_call call = {.command = "reload", .usage = "[--json]"};
    int code = cli_parse(&call, argument_count, arguments, options, 0, 0);

    if (code != CLI_EXIT_OK || call.help) {
        cli_call_fini(&call);
        return code;
    }
    code = cli_request(&call, &request);
    if (code == CLI_EXIT_OK) {
        code = call.json ? cli_print_response(&call) : print_reload(&call);
    }
    cli_call_fini(&call);
    return code;
}
