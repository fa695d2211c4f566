/* A delivery as a command for a shell.
 *
 * The request is rendered as the deliverer renders it, and read back a line at
 * a time, so that both say the same.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_curl.h"

#include "base/json_text.h"
#include "http/url.h"
#include "queue/letters_filter.h"
#include "queue/outgoing.h"

#include <string.h>

#define NEXT_LINE " \\\n  "

enum {
    /* Bytes of a body that is an argument: a kernel takes 128 KiB. */
    ARGUMENT_MAX = 64 * 1024,
    CONTROLS_END = 0x20,
    DELETE = 0x7f,
    /* In UTF-8, the controls from U+0080 to U+009F are 0xc2 and one of these.
     */
    LATIN_LEAD = 0xc2,
    LATIN_CONTROLS_END = 0xa0,
};

/* --- words ---------------------------------------------------------------- */

/* Tell whether bytes may be shown as they are: text without controls but for
 * ends of lines and tabs. */
static bool is_plain(struct str bytes)
{
    for (size_t index = 0; index < bytes.size; index++) {
        unsigned char byte = (unsigned char)bytes.data[index];
        bool control = byte < CONTROLS_END && byte != '\n' && byte != '\t';
        if (control || byte == DELETE) {
            return false;
        }
        if (byte == LATIN_LEAD && index + 1 < bytes.size &&
            (unsigned char)bytes.data[index + 1] < LATIN_CONTROLS_END) {
            return false;
        }
    }
    return json_text_is_text(bytes);
}

static void append_quoted(struct buf *to, struct str text)
{
    buf_append_byte(to, '\'');
    for (size_t index = 0; index < text.size; index++) {
        if (text.data[index] == '\'') {
            buf_append_c(to, "'\\''");
        } else {
            buf_append_byte(to, text.data[index]);
        }
    }
    buf_append_byte(to, '\'');
}

static bool is_word_byte(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') ||
           (byte != '\0' && strchr(" .,:;/=_-+&?{}[]()\"<>", byte) != NULL);
}

static void append_printf(struct buf *to, struct str bytes)
{
    /* Else it might begin with an option. */
    buf_append_c(to, "printf -- '");
    for (size_t index = 0; index < bytes.size; index++) {
        if (is_word_byte(bytes.data[index])) {
            buf_append_byte(to, bytes.data[index]);
        } else if (bytes.data[index] == '%') {
            buf_append_c(to, "%%"); /* some shells decode first */
        } else {
            buf_append_format(to, "\\%03o", (unsigned char)bytes.data[index]);
        }
    }
    buf_append_byte(to, '\'');
}

void api_curl_word(struct buf *to, struct str bytes)
{
    if (is_plain(bytes)) {
        append_quoted(to, bytes);
        return;
    }
    buf_append_c(to, "\"$(");
    append_printf(to, bytes);
    buf_append_c(to, ")\"");
}

/* --- the request ---------------------------------------------------------- */

/* What a request says: lines of its head are read into it. */
struct request {
    bool has_length;
    bool has_type;
    bool has_accept;
    struct buf headers; /* owned; options of the command */
};

/* Take a line off a head. */
static struct str take_line(struct str *head)
{
    size_t size = str_find(*head, '\r');
    struct str line = str_cut(*head, 0, size);

    *head = str_cut(*head, size + 2, head->size);
    return line;
}

static void append_header(struct request *request, struct str line)
{
    size_t colon = str_find(line, ':');
    struct str name = str_cut(line, 0, colon);
    struct buf *to = &request->headers;

    if (str_equal_nocase(name, STR("host"))) {
        return;
    }
    if (str_equal_nocase(name, STR("content-length"))) {
        request->has_length = true;
        return;
    }
    request->has_type |= str_equal_nocase(name, STR("content-type"));
    request->has_accept |= str_equal_nocase(name, STR("accept"));
    buf_append_c(to, NEXT_LINE "-H ");
    if (line.size == colon + 2) { /* an empty one is written so */
        struct buf empty = {0};
        buf_append_str(&empty, name);
        buf_append_byte(&empty, ';');
        api_curl_word(to, buf_str(&empty));
        to->failed = to->failed || empty.failed;
        buf_fini(&empty);
    } else {
        api_curl_word(to, line);
    }
}

/* Read a head behind its first line. curl has headers of its own, which "Name:"
 * takes away. */
static void read_head(struct request *request, struct str head)
{
    struct str line = take_line(&head);

    while (line.size > 0) {
        append_header(request, line);
        line = take_line(&head);
    }
    if (!request->has_accept) {
        buf_append_c(&request->headers, NEXT_LINE "-H 'Accept:'");
    }
    if (request->has_length && !request->has_type) {
        buf_append_c(&request->headers, NEXT_LINE "-H 'Content-Type:'");
    }
    if (request->has_length) {
        buf_append_c(&request->headers, NEXT_LINE "-H 'Expect:'");
    }
}

static void append_url(struct buf *to, const struct url *url)
{
    struct buf text = {0};

    buf_append_c(&text, url->secure ? "https://" : "http://");
    buf_append_str(&text, url->authority);
    if (url->target.size == 0 || url->target.data[0] == '?') {
        buf_append_byte(&text, '/');
    }
    buf_append_str(&text, url->target);
    api_curl_word(to, buf_str(&text));
    to->failed = to->failed || text.failed;
    buf_fini(&text);
}

static void append_command(struct buf *to,
                           const struct outgoing *outgoing,
                           const struct url *url,
                           uint64_t blob_size)
{
    struct request request = {0};
    struct str head = buf_str(&outgoing->head);
    struct str body = buf_str(&outgoing->body);
    struct str start = take_line(&head);

    read_head(&request, head);
    bool piped = blob_size == 0 && body.size > 0 &&
                 (body.size > ARGUMENT_MAX || !is_plain(body));
    if (blob_size > 0) {
        buf_append_format(to,
                          "# Its body of %llu bytes is not here: have it in "
                          "the file body.\n",
                          (unsigned long long)blob_size);
    }
    if (piped) {
        append_printf(to, body);
        buf_append_c(to, " |" NEXT_LINE);
    }
    buf_append_c(to, "curl --globoff --path-as-is --include ");
    buf_append_c(to, "-X ");
    api_curl_word(to, str_cut(start, 0, str_find(start, ' ')));
    buf_append_byte(to, ' ');
    append_url(to, url);
    buf_append_str(to, buf_str(&request.headers));
    if (blob_size > 0) {
        buf_append_c(to, NEXT_LINE "--data-binary @body");
    } else if (piped) {
        buf_append_c(to, NEXT_LINE "--data-binary @-");
    } else if (request.has_length) {
        buf_append_c(to, NEXT_LINE "--data-raw ");
        append_quoted(to, body);
    }
    buf_append_byte(to, '\n');
    to->failed = to->failed || request.headers.failed;
    buf_fini(&request.headers);
}

/* --- messages ------------------------------------------------------------- */

/* Read what a dead letter was: the topic and number that it had. */
static void as_it_was(const struct record *record,
                      struct outgoing_context *context)
{
    const struct message_options *options = record->message.options;
    struct letters_end end;
    struct buf memory = {0};

    if (letters_filter_read(options->dead, &memory, &end) == ERR_OK) {
        context->sequence = end.sequence;
        context->attempt = (uint32_t)end.attempts + 1;
    }
    buf_fini(&memory);
}

enum err api_curl_append(const struct topic *topic,
                         const struct record *record,
                         uint32_t attempts,
                         uint64_t now_ms,
                         struct buf *to,
                         const char **out_reason)
{
    const struct message_options *options = record->message.options;
    struct outgoing outgoing = {0};
    struct url url;
    struct outgoing_context context = {
        .topic = topic,
        .url = &url,
        .user_agent = STR("OPQ/" OPQ_VERSION),
        .sequence = record->sequence,
        .attempt = attempts + 1,
        .now_s = now_ms / 1000,
        .events = topic->settings.cloudevents != SETTINGS_EVENTS_OFF
                      ? &topic->settings
                      : NULL,
    };
    struct store_topic origin = {0};
    struct topic was = *topic;

    enum err err = url_parse(record->message.url, &url, out_reason);
    if (err != ERR_OK) {
        return ERR_INVALID;
    }
    if (topic_is_dead(topic->store->name_str) && options != NULL) {
        origin.name_str = options->topic;
        was.store = &origin;
        context.topic = &was;
        as_it_was(record, &context);
    }
    err = outgoing_render(&outgoing, &record->message, &context);
    if (err == ERR_OK) {
        append_command(to, &outgoing, &url, record->message.blob.size);
        err = buf_err(to);
    } else if (err == ERR_INVALID) {
        *out_reason = "the method cannot be sent";
    }
    outgoing_fini(&outgoing);
    return err;
}
