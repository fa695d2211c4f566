/* Lists that a server gives page by page, and what is asked of one thing.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_list.h"

#include "http/form.h"

#include <string.h>

void cli_list_parameter(struct buf *target, const char *name, const char *value)
{
    if (value == NULL) {
        return;
    }
    bool first =
        target->size == 0 || memchr(target->data, '?', target->size) == NULL;
    buf_append_byte(target, first ? '?' : '&');
    buf_append_c(target, name);
    buf_append_byte(target, '=');
    form_escape(target, str_from(value));
}

void cli_list_parameters(struct buf *to,
                         const struct cli_call *call,
                         uint32_t first,
                         char mark)
{
    for (uint32_t index = first; index < call->word_count; index++) {
        struct str text = str_from(call->words[index]);
        size_t equals = str_find(text, '=');
        buf_append_byte(to, mark);
        form_escape(to, str_cut(text, 0, equals));
        buf_append_byte(to, '=');
        form_escape(to, str_cut(text, equals + 1, text.size));
        mark = '&';
    }
}

int cli_list_request(struct cli_call *call,
                     const char *method,
                     const struct buf *target,
                     struct str body)
{
    const struct remote_request request = {
        .method = method,
        .target = buf_str(target),
        .headers = body.size > 0 ? STR("Content-Type: application/json\r\n")
                                 : (struct str){NULL, 0},
        .body = body,
    };

    return target->failed ? cli_complain(call, CLI_EXIT_FAILED, "no memory")
                          : cli_request(call, &request);
}

const struct cli_action *cli_list_action(const struct cli_action *actions,
                                         const struct cli_call *call)
{
    for (; actions->name != NULL; actions++) {
        if (call->word_count == actions->word_count &&
            strcmp(call->words[0], actions->name) == 0) {
            return actions;
        }
    }
    return NULL;
}

int cli_list_act(struct cli_call *call,
                 const struct cli_action *action,
                 struct buf *target,
                 const char *value)
{
    buf_append_c(target, action->rest);
    if (value != NULL) {
        form_escape(target, str_from(value));
    }
    int code =
        cli_list_request(call, action->method, target, (struct str){NULL, 0});
    if (code != CLI_EXIT_OK) {
        return code;
    }
    return action->prints ? cli_print_answer(call) : cli_print_if_json(call);
}

/* Show the items of all pages to `visit`. */
static int each_item(struct cli_call *call,
                     const struct cli_list *list,
                     void (*visit)(void *context, const json_t *item),
                     void *context)
{
    const char *after = list->after != NULL ? list->after : "after";
    struct buf target = {0};
    int code = CLI_EXIT_OK;
    bool more = true;

    buf_append_str(&target, list->target);
    while (more && code == CLI_EXIT_OK) {
        json_t *page = NULL;
        json_t *item = NULL;
        size_t index = 0;
        code = target.failed ? cli_complain(call, CLI_EXIT_FAILED, "no memory")
                             : cli_get_json(call, buf_str(&target), &page);
        json_array_foreach(json_object_get(page, list->member), index, item)
        {
            visit(context, item);
        }
        const char *next = cli_text(page, "next");
        more = next[0] != '\0';
        buf_clear(&target);
        buf_append_str(&target, list->target);
        cli_list_parameter(&target, after, next);
        json_decref(page);
    }
    buf_fini(&target);
    return code;
}

int cli_list_each(struct cli_call *call,
                  struct str target,
                  const char *member,
                  void (*visit)(void *context, const json_t *item),
                  void *context)
{
    const struct cli_list list = {.target = target, .member = member};

    return each_item(call, &list, visit, context);
}

struct printing {
    const struct cli_list *list;
    bool json;
    struct table table;
};

static void print_item(void *context, const json_t *item)
{
    struct printing *printing = context;

    if (printing->json) {
        cli_print_line(item);
    } else {
        printing->list->add_row(&printing->table, item);
    }
}

int cli_list_print(struct cli_call *call, const struct cli_list *list)
{
    struct printing printing = {.list = list, .json = call->json};
    struct buf text = {0};

    table_init(&printing.table, list->head_count, list->right);
    for (uint32_t index = 0; index < list->head_count; index++) {
        table_add(&printing.table, list->heads[index]);
    }
    int code = each_item(call, list, print_item, &printing);
    if (code == CLI_EXIT_OK && !call->json) {
        table_print(&printing.table, &text);
        code = cli_print(&text);
    }
    table_fini(&printing.table);
    return code;
}

int cli_list_print_of(struct cli_call *call,
                      struct cli_list list,
                      const struct buf *target)
{
    if (buf_err(target) != ERR_OK) {
        return cli_complain(call, CLI_EXIT_FAILED, "no memory");
    }
    list.target = buf_str(target);
    return cli_list_print(call, &list);
}
