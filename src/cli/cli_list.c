/* Lists that a server gives page by page.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_list.h"

#include "http/form.h"

#include <stdio.h>
#include <string.h>

void cli_list_parameter(struct buf *target, const char *name, const char *value)
{
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

int cli_list_each(struct cli_call *call,
                  struct str target,
                  const char *member,
                  void (*visit)(void *context, const json_t *item),
                  void *context)
{
    struct buf page_target = {0};
    int code = CLI_EXIT_OK;
    bool more = true;

    buf_append_str(&page_target, target);
    while (more && code == CLI_EXIT_OK) {
        json_t *page = NULL;
        json_t *item = NULL;
        size_t index = 0;
        code = cli_get_json(call, buf_str(&page_target), &page);
        json_array_foreach(json_object_get(page, member), index, item)
        {
            visit(context, item);
        }
        const char *next = cli_text(page, "next");
        more = next[0] != '\0';
        buf_clear(&page_target);
        buf_append_str(&page_target, target);
        cli_list_parameter(&page_target, "after", next);
        json_decref(page);
    }
    buf_fini(&page_target);
    return code;
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
        (void)json_dumpf(item, stdout, JSON_COMPACT);
        (void)fputc('\n', stdout);
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
    int code = cli_list_each(call, str_from(list->target), list->member,
                             print_item, &printing);
    if (code == CLI_EXIT_OK && !call->json) {
        table_print(&printing.table, &text);
        code = cli_print(&text);
    }
    table_fini(&printing.table);
    return code;
}
