/* Filters: text to compiled form.
 *
 * What happens: the text is copied, and read from left to right by functions
 * named read_, each of which takes what it wants and goes behind it; names and
 * values are slices of the copy, where strings are decoded in place. What can
 * fail: the text. Policy: the first thing that does not fit is told with its
 * place and what could stand there.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/filter_internal.h"

#include "base/check.h"
#include "http/parse.h"
#include "queue/cloudevents.h"

#include <stdlib.h>
#include <string.h>

/* What is read so far. */
struct reading {
    struct str text;   /* a copy, which is changed behind `position` only
                          where it was read */
    size_t position;   /* of what is next */
    size_t problem_at; /* after an error */
    const char *expected;
    uint32_t condition_count;
    uint32_t step_count;
    struct filter_condition conditions[FILTER_CONDITIONS_MAX];
    struct filter_step steps[FILTER_STEPS_MAX];
};

/* --- bytes ---------------------------------------------------------------- */

static enum err
refuse_at(struct reading *reading, size_t position, const char *expected)
{
    reading->problem_at = position;
    reading->expected = expected;
    return ERR_INVALID;
}

static enum err refuse(struct reading *reading, const char *expected)
{
    return refuse_at(reading, reading->position, expected);
}

/* The next byte; NUL at the end, and no text may have one. */
static char peek(const struct reading *reading)
{
    return reading->position < reading->text.size
               ? reading->text.data[reading->position]
               : '\0';
}

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

static bool is_line_end(char byte)
{
    return byte == '\n' || byte == '\r';
}

static void skip_blanks(struct reading *reading)
{
    while (is_blank(peek(reading))) {
        reading->position++;
    }
}

/* Step over what stands there; false when it is something else. */
static bool take(struct reading *reading, struct str word)
{
    struct str left =
        str_cut(reading->text, reading->position, reading->text.size);

    if (!str_starts(left, word)) {
        return false;
    }
    reading->position += word.size;
    return true;
}

/* As take(), of a word that must end there. */
static bool take_word(struct reading *reading, struct str word)
{
    size_t start = reading->position;

    if (!take(reading, word)) {
        return false;
    }
    char next = peek(reading);
    if (next == '\0' || is_blank(next) || is_line_end(next)) {
        return true;
    }
    reading->position = start;
    return false;
}

/* --- values --------------------------------------------------------------- */

/* Read a string of JSON, which is next, and decode it where it is. */
static enum err read_string(struct reading *reading, struct str *out_text)
{
    struct str left =
        str_cut(reading->text, reading->position, reading->text.size);
    struct json_scan scan = json_scan_of(left);
    struct json_scan_value value;

    if (peek(reading) != '"' || json_scan_next(&scan, &value) != ERR_OK) {
        return refuse(reading, "expected a string in quotes, as in JSON");
    }
    struct str text = str_cut(value.text, 1, value.text.size - 2);
    if (value.escaped) {
        /* Decoded it is no longer than written, and read before it is
         * written over. */
        struct buf memory = {.data = (char *)text.data,
                             .capacity = text.size,
                             .size_max = text.size};
        if (json_scan_decode(&value, &memory, &text) != ERR_OK) {
            return refuse(reading, "expected a string without half of a "
                                   "surrogate pair");
        }
    }
    reading->position += scan.position;
    *out_text = text;
    return ERR_OK;
}

/* Read a value into a condition. */
static enum err read_value(struct reading *reading,
                           struct filter_condition *condition)
{
    static const char expected[] =
        "expected a value: a string in quotes, a number, true, false or null";
    struct str left =
        str_cut(reading->text, reading->position, reading->text.size);
    struct json_scan scan = json_scan_of(left);
    struct json_scan_value value;
    size_t start = reading->position;
    char next = peek(reading);

    if (next == '"') {
        condition->type = JSON_SCAN_STRING;
        return read_string(reading, &condition->value);
    }
    if (next == '{' || next == '[' || is_line_end(next) ||
        json_scan_next(&scan, &value) != ERR_OK) {
        return refuse(reading, expected);
    }
    condition->type = value.type;
    condition->value = value.text;
    reading->position += scan.position;
    if (condition->test == FILTER_TEST_PREFIX) {
        return refuse_at(reading, start, "expected a string in quotes");
    }
    if (condition->subject != FILTER_SUBJECT_JSON) {
        return refuse_at(reading, start,
                         "expected a string in quotes; other values are "
                         "those of json: alone");
    }
    return ERR_OK;
}

/* --- subjects ------------------------------------------------------------- */

static bool is_member_byte(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '_' || byte == '-' ||
           (unsigned char)byte >= 0x80;
}

/* Read what follows a '.' of a path. */
static enum err read_member(struct reading *reading, struct filter_step *step)
{
    size_t start = reading->position;

    while (is_member_byte(peek(reading))) {
        reading->position++;
    }
    if (reading->position == start) {
        return refuse(reading, "expected the name of a member; one with other "
                               "than letters, digits, _ and - is written "
                               "[\"so\"]");
    }
    step->name = str_cut(reading->text, start, reading->position - start);
    return ERR_OK;
}

/* Read what follows a '[' of a path. */
static enum err read_bracket(struct reading *reading, struct filter_step *step)
{
    size_t start = reading->position;
    uint64_t index = 0;

    if (peek(reading) == '"') {
        enum err err = read_string(reading, &step->name);
        if (err != ERR_OK) {
            return err;
        }
    } else {
        while (peek(reading) >= '0' && peek(reading) <= '9') {
            reading->position++;
        }
        struct str digits =
            str_cut(reading->text, start, reading->position - start);
        if (str_to_u64(digits, &index) != ERR_OK || index > UINT32_MAX) {
            return refuse_at(reading, start,
                             "expected an index from 0, or a name in quotes");
        }
        step->index = (uint32_t)index;
        step->is_index = true;
    }
    return take(reading, STR("]")) ? ERR_OK : refuse(reading, "expected ]");
}

static enum err read_path(struct reading *reading,
                          struct filter_condition *condition)
{
    condition->step = (uint16_t)reading->step_count;
    if (!take(reading, STR("$"))) {
        return refuse(reading, "expected a path such as $.a.b[0]");
    }
    for (;;) {
        char next = peek(reading);
        struct filter_step step = {.index = 0};
        if (next != '.' && next != '[') {
            return ERR_OK;
        }
        if (reading->step_count == FILTER_STEPS_MAX) {
            (void)refuse(reading, "too many steps of paths in all");
            return ERR_TOO_LARGE;
        }
        reading->position++;
        enum err err = next == '.' ? read_member(reading, &step)
                                   : read_bracket(reading, &step);
        if (err != ERR_OK) {
            return err;
        }
        reading->steps[reading->step_count] = step;
        reading->step_count++;
        condition->step_count++;
    }
}

/* Read a name, up to the next blank. */
static enum err read_name(struct reading *reading,
                          struct filter_condition *condition)
{
    size_t start = reading->position;
    bool is_header = condition->subject == FILTER_SUBJECT_HEADER;
    bool is_field = condition->subject == FILTER_SUBJECT_FIELD;

    if (is_field && peek(reading) == '"') {
        return read_string(reading, &condition->name);
    }
    for (;;) {
        char next = peek(reading);
        if (next == '\0' || next == '"' || is_blank(next) ||
            is_line_end(next)) {
            break;
        }
        reading->position++;
    }
    condition->name = str_cut(reading->text, start, reading->position - start);
    if (condition->subject == FILTER_SUBJECT_EVENT) {
        return cloudevents_is_name(condition->name)
                   ? ERR_OK
                   : refuse_at(reading, start,
                               "expected the name of an attribute: 1 to 64 of "
                               "a-z 0-9");
    }
    if (is_header ? !http_is_token(condition->name)
                  : condition->name.size == 0) {
        return refuse_at(reading, start,
                         is_header ? "expected the name of a header, and a "
                                     "blank behind it"
                                   : "expected the name of a field");
    }
    return ERR_OK;
}

static enum err read_subject(struct reading *reading,
                             struct filter_condition *condition)
{
    if (take(reading, STR("header:"))) {
        condition->subject = FILTER_SUBJECT_HEADER;
        return read_name(reading, condition);
    }
    if (take(reading, STR("field:"))) {
        condition->subject = FILTER_SUBJECT_FIELD;
        return read_name(reading, condition);
    }
    if (take(reading, STR("json:"))) {
        condition->subject = FILTER_SUBJECT_JSON;
        return read_path(reading, condition);
    }
    if (take(reading, STR("ce:"))) {
        condition->subject = FILTER_SUBJECT_EVENT;
        return read_name(reading, condition);
    }
    if (take_word(reading, STR("key"))) {
        condition->subject = FILTER_SUBJECT_KEY;
        return ERR_OK;
    }
    if (take_word(reading, STR("label"))) {
        condition->subject = FILTER_SUBJECT_LABEL;
        return ERR_OK;
    }
    return refuse(reading,
                  "expected header:NAME, field:NAME, json:PATH, ce:NAME, "
                  "key or label");
}

/* --- conditions ----------------------------------------------------------- */

static enum err read_test(struct reading *reading,
                          struct filter_condition *condition)
{
    if (take_word(reading, STR("exists"))) {
        condition->test = FILTER_TEST_EXISTS;
        return ERR_OK;
    }
    if (take_word(reading, STR("absent"))) {
        condition->test = FILTER_TEST_ABSENT;
        return ERR_OK;
    }
    if (take(reading, STR("="))) {
        condition->test = FILTER_TEST_EQUAL;
    } else if (take(reading, STR("!="))) {
        condition->test = FILTER_TEST_UNEQUAL;
    } else if (take(reading, STR("^="))) {
        condition->test = FILTER_TEST_PREFIX;
    } else {
        return refuse(reading, "expected =, !=, ^=, exists or absent");
    }
    skip_blanks(reading);
    return read_value(reading, condition);
}

static enum err read_condition(struct reading *reading)
{
    struct filter_condition condition = {.step = 0};

    if (reading->condition_count == FILTER_CONDITIONS_MAX) {
        (void)refuse(reading, "too many conditions");
        return ERR_TOO_LARGE;
    }
    enum err err = read_subject(reading, &condition);
    if (err != ERR_OK) {
        return err;
    }
    if (!is_blank(peek(reading))) {
        return refuse(reading, "expected a blank");
    }
    skip_blanks(reading);
    err = read_test(reading, &condition);
    if (err != ERR_OK) {
        return err;
    }
    reading->conditions[reading->condition_count] = condition;
    reading->condition_count++;
    return ERR_OK;
}

/* Step over blanks and line ends; tells whether there was a line end. */
static bool skip_lines(struct reading *reading)
{
    bool found = false;

    for (;;) {
        skip_blanks(reading);
        if (!take(reading, STR("\n")) && !take(reading, STR("\r\n"))) {
            return found;
        }
        found = true;
    }
}

static enum err read_all(struct reading *reading)
{
    (void)skip_lines(reading);
    while (reading->position < reading->text.size) {
        enum err err = read_condition(reading);
        if (err != ERR_OK) {
            return err;
        }
        size_t end = reading->position;
        if (skip_lines(reading) || reading->position == reading->text.size) {
            continue;
        }
        if (reading->position == end || !take_word(reading, STR("and")) ||
            !is_blank(peek(reading))) {
            return refuse_at(reading, end,
                             "expected \" and \", a new line or the end");
        }
        skip_blanks(reading);
        if (reading->position == reading->text.size) {
            return refuse(reading, "expected a condition behind \"and\"");
        }
    }
    return ERR_OK;
}

/* --- life ----------------------------------------------------------------- */

/* The slice of the copy as one of where its bytes go. */
static struct str moved(struct str slice, const char *from, char *to)
{
    return slice.size > 0 ? (struct str){to + (slice.data - from), slice.size}
                          : STR("");
}

/* Put what was read into one block of its size. */
static struct filter *make(const struct reading *reading)
{
    size_t conditions_size =
        reading->condition_count * sizeof(struct filter_condition);
    size_t steps_size = reading->step_count * sizeof(struct filter_step);
    struct filter *filter = malloc(sizeof(*filter) + conditions_size +
                                   steps_size + reading->text.size);

    if (filter == NULL) {
        return NULL;
    }
    filter->condition_count = reading->condition_count;
    filter->step_count = reading->step_count;
    filter->conditions = (void *)(filter + 1);
    filter->steps = (void *)(filter->conditions + reading->condition_count);
    filter->text = (char *)(filter->steps + reading->step_count);
    (void)put_text(filter->text, reading->text);
    for (uint32_t i = 0; i < filter->condition_count; i++) {
        struct filter_condition *condition = &filter->conditions[i];
        *condition = reading->conditions[i];
        condition->name =
            moved(condition->name, reading->text.data, filter->text);
        condition->value =
            moved(condition->value, reading->text.data, filter->text);
    }
    for (uint32_t i = 0; i < filter->step_count; i++) {
        filter->steps[i] = reading->steps[i];
        filter->steps[i].name =
            moved(reading->steps[i].name, reading->text.data, filter->text);
    }
    return filter;
}

enum err filter_compile(struct str text,
                        struct filter **out,
                        struct filter_problem *out_problem)
{
    char copy[FILTER_SIZE_MAX];
    struct reading reading = {.position = 0};

    if (text.size > sizeof(copy)) {
        *out_problem = (struct filter_problem){sizeof(copy), "too long"};
        return ERR_TOO_LARGE;
    }
    (void)put_text(copy, text);
    reading.text = (struct str){copy, text.size};
    enum err err = read_all(&reading);
    if (err != ERR_OK) {
        *out_problem =
            (struct filter_problem){reading.problem_at, reading.expected};
        return err;
    }
    struct filter *filter = make(&reading);
    if (filter == NULL) {
        return ERR_NOMEM;
    }
    *out = filter;
    return ERR_OK;
}

void filter_destroy(struct filter *filter)
{
    free(filter);
}
