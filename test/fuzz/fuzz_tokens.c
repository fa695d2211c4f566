/* A file of tokens is read or refused, line by line; each token that stands in
 * it as it is can be found, and has a scope and a name.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "queue/tokens.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The last word of a line without a comment. */
static struct str last_word(struct str line)
{
    line = str_trim(line);
    size_t at = line.size;
    while (at > 0 && line.data[at - 1] != ' ' && line.data[at - 1] != '\t') {
        at--;
    }
    return str_cut(line, at, line.size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf errors = {0};
    struct tokens *tokens = NULL;
    char *copy = malloc(size > 0 ? size : 1);
    uint32_t found = 0;

    CHECK(copy != NULL);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    enum err err = tokens_parse(copy, size, "file", &errors, &tokens);
    CHECK((err == ERR_OK) == (errors.size == 0));
    struct str left = {(const char *)data, size};
    while (err == ERR_OK && left.size > 0) {
        size_t end = str_find(left, '\n');
        struct str line = str_cut(left, 0, end);
        bool plain = str_find(line, '#') == line.size;
        const struct token *token = tokens_find(tokens, last_word(line));
        if (token != NULL && plain) {
            CHECK(token->scopes > 0 && token->scopes < 8);
            CHECK(token->name[0] != '\0');
            found++;
        }
        left = str_cut(left, end + 1, left.size);
    }
    if (err == ERR_OK) {
        CHECK(found <= tokens_count(tokens));
    }
    tokens_release(tokens);
    buf_fini(&errors);
    return 0;
}
