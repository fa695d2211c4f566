/* A pattern, and where it matches.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/matcher.h"

#include "base/buf.h"

#include <string.h>

/* A text as an expression that matches just it. */
static enum err escape(struct buf *to, struct str text)
{
    for (size_t index = 0; index < text.size; index++) {
        if (strchr("^.[$()|*+?{\\", text.data[index]) != NULL) {
            buf_append_byte(to, '\\');
        }
        buf_append_byte(to, text.data[index]);
    }
    buf_append_byte(to, '\0');
    return buf_err(to);
}

enum err matcher_init(struct matcher *out,
                      const char *pattern,
                      bool fixed,
                      bool any_case,
                      char *wrong)
{
    struct buf escaped = {0};
    enum err err = fixed ? escape(&escaped, str_from(pattern)) : ERR_OK;

    if (err == ERR_OK) {
        int rc = regcomp(&out->regex, fixed ? escaped.data : pattern,
                         REG_EXTENDED | (any_case ? REG_ICASE : 0));
        if (rc != 0) {
            (void)regerror(rc, &out->regex, wrong, MATCHER_ERROR_MAX);
            err = rc == REG_ESPACE ? ERR_NOMEM : ERR_INVALID;
        }
    }
    buf_fini(&escaped);
    return err;
}

void matcher_fini(struct matcher *matcher)
{
    regfree(&matcher->regex);
}

bool matcher_find(const struct matcher *matcher,
                  struct str text,
                  struct matcher_match *out_match)
{
    size_t start = 0;

    if (text.size == 0) {
        text = STR(""); /* its data may be NULL */
    }
    do {
        struct str line = str_cut(text, start, text.size);
        line = str_cut(line, 0, str_find(line, '\n'));
        regmatch_t match = {.rm_so = 0, .rm_eo = (regoff_t)line.size};
        if (regexec(&matcher->regex, line.data, 1, &match, REG_STARTEND) == 0) {
            *out_match = (struct matcher_match){
                .line = line,
                .start = (size_t)match.rm_so,
                .end = (size_t)match.rm_eo,
            };
            return true;
        }
        start += line.size + 1;
    } while (start < text.size);
    return false;
}

static bool continues(char byte)
{
    return ((uint8_t)byte & 0xc0) == 0x80;
}

struct str matcher_part(const struct matcher_match *match)
{
    struct str line = match->line;
    size_t start =
        match->start > MATCHER_AROUND ? match->start - MATCHER_AROUND : 0;
    size_t end = line.size - match->end > MATCHER_AROUND
                     ? match->end + MATCHER_AROUND
                     : line.size;

    while (start < match->start && continues(line.data[start])) {
        start++;
    }
    while (end < line.size && end > match->end && continues(line.data[end])) {
        end--;
    }
    return str_cut(line, start, end - start);
}
