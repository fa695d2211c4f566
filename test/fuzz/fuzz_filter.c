/* A filter, up to the first NUL byte, and a body behind it. Whatever compiles
 * matches or does not, the same each time; the opposites of a comparison and of
 * existence never hold together, and one of them holds of a body that is JSON.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "base/json_scan.h"
#include "queue/filter.h"

#include <string.h>

/* A pair of literals, as a constant. */
#define PAIR(name, value)                                                      \
    {                                                                          \
        {(name), sizeof(name) - 1},                                            \
        {                                                                      \
            (value), sizeof(value) - 1                                         \
        }                                                                      \
    }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct filter *compile(struct str text)
{
    struct filter *filter = NULL;
    struct filter_problem problem = {SIZE_MAX, NULL};

    enum err err = filter_compile(text, &filter, &problem);
    if (err != ERR_OK) {
        CHECK(err == ERR_INVALID || err == ERR_TOO_LARGE);
        CHECK(problem.position <= text.size && problem.expected != NULL);
        return NULL;
    }
    return filter;
}

static bool is_json(struct str body)
{
    struct json_scan scan = json_scan_of(body);
    struct json_scan_value value;

    return json_scan_next(&scan, &value) == ERR_OK &&
           json_scan_next(&scan, &value) == ERR_NOT_FOUND;
}

/* Put a test behind the subject of a condition and see what holds. */
static bool holds(struct str subject,
                  const char *test,
                  const void *message,
                  bool *out_compiled)
{
    struct buf text = {0};

    buf_append_str(&text, subject);
    buf_append_c(&text, test);
    struct filter *filter = compile(buf_str(&text));
    *out_compiled = filter != NULL;
    bool result = filter != NULL && filter_matches(filter, message);
    filter_destroy(filter);
    buf_fini(&text);
    return result;
}

/* What stands before the first blank, as the subject of opposites. */
static void check_opposites(struct str subject, const struct message *message)
{
    bool compiled = false;
    bool json = str_starts(subject, STR("json:"));

    if (str_find(subject, '\n') < subject.size ||
        str_find(subject, '\t') < subject.size) {
        return; /* it is more than a subject */
    }
    bool exists = holds(subject, " exists", message, &compiled);
    if (!compiled) {
        return;
    }
    bool absent = holds(subject, " absent", message, &compiled);
    bool equal = holds(subject, " = \"a\"", message, &compiled);
    bool unequal = holds(subject, " != \"a\"", message, &compiled);
    bool prefix = holds(subject, " ^= \"a\"", message, &compiled);
    CHECK(compiled);
    bool looked = !json || is_json(message->body);
    CHECK((exists != absent) == looked);
    CHECK((equal != unequal) == looked);
    CHECK(!equal || (exists && prefix));
    CHECK(!prefix || exists);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct pair pairs[] = {PAIR("name", "a"), PAIR("X-A", "abc"),
                                        PAIR("", "")};
    const struct message_options options = {.key = STR("a"),
                                            .label = STR("ab")};
    struct str all = {(const char *)data, size};
    struct str text = str_cut(all, 0, str_find(all, '\0'));
    struct message message = {
        .kind = MESSAGE_KIND_RAW,
        .headers = pairs,
        .header_count = 3,
        .fields = pairs,
        .field_count = 3,
        .body = str_cut(all, text.size + 1, all.size),
        .options = &options,
    };

    struct filter *filter = compile(text);
    if (filter == NULL) {
        return 0;
    }
    CHECK(filter_matches(filter, &message) == filter_matches(filter, &message));
    check_opposites(str_cut(text, 0, str_find(text, ' ')), &message);
    message.kind = MESSAGE_KIND_FORM;
    (void)filter_matches(filter, &message);
    filter_destroy(filter);
    return 0;
}
