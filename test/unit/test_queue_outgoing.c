/* Tests of queue/outgoing: the exact bytes that a receiver gets.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/outgoing.h"

#include "queue/forward.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PAIRS_MAX = 16, TEXT_MAX = 4096 };

static struct store_topic stored;
static struct topic topic;
static struct outgoing outgoing;
static struct pair fields[MESSAGE_PAIRS_MAX];
static struct pair headers[PAIRS_MAX];
static struct message message;
static struct message_options options;
static struct secrets *secrets;
static struct sign sign;
static struct outgoing_context context; /* what render_as() does not set */
static char rendered[TEXT_MAX];

/* A raw message without anything, to be filled in. */
static int begin(void **state)
{
    (void)state;
    stored = (struct store_topic){.id = 0x1f, .name_str = STR("orders")};
    memset(&topic, 0, sizeof(topic));
    topic.store = &stored;
    (void)snprintf(topic.id_prefix, sizeof(topic.id_prefix), "%s",
                   "msg_000000000000001f-");
    message = (struct message){
        .url = STR("http://127.0.0.1:9000/sink"),
        .kind = MESSAGE_KIND_RAW,
        .fields = fields,
        .headers = headers,
    };
    context = (struct outgoing_context){.user_agent = STR("OPQ/1.0")};
    return 0;
}

static int finish(void **state)
{
    (void)state;
    outgoing_fini(&outgoing);
    sign_fini(&sign);
    secrets_release(secrets);
    secrets = NULL;
    return 0;
}

/* Have secrets, to sign with and to name. */
static void load_secrets(const char *text)
{
    struct buf errors = {0};
    char *copy = strdup(text);

    assert_non_null(copy);
    assert_int_equal(secrets_parse(copy, strlen(text), "f", &errors, &secrets),
                     ERR_OK);
    context.secrets = secrets;
    context.sign = &sign;
}

static void add_field(const char *key, const char *value)
{
    fields[message.field_count++] =
        (struct pair){str_from(key), str_from(value)};
    message.kind = MESSAGE_KIND_FORM;
}

static void add_header(const char *name, const char *value)
{
    headers[message.header_count++] =
        (struct pair){str_from(name), str_from(value)};
}

static enum err render_as(uint64_t sequence, uint32_t attempt)
{
    struct url url;
    const char *reason = NULL;

    assert_int_equal(url_parse(message.url, &url, &reason), ERR_OK);
    context.topic = &topic;
    context.url = context.url != NULL ? context.url : &url;
    context.sequence = sequence;
    context.previous = sequence - 1;
    context.has_previous = sequence > 0;
    context.attempt = attempt;
    context.now_s = context.now_s > 0 ? context.now_s : 1700000000;
    enum err err = outgoing_render(&outgoing, &message, &context);
    context.url = context.url == &url ? NULL : context.url;
    if (err != ERR_OK) {
        return err;
    }
    struct iovec parts[OUTGOING_PARTS];
    uint32_t count = outgoing_parts(&outgoing, parts);
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++) {
        assert_true(size + parts[i].iov_len < sizeof(rendered));
        memcpy(rendered + size, parts[i].iov_base, parts[i].iov_len);
        size += parts[i].iov_len;
    }
    rendered[size] = '\0';
    return ERR_OK;
}

/* Render as the first attempt at message 1, and give its bytes. */
static const char *render(void)
{
    assert_int_equal(render_as(1, 1), ERR_OK);
    return rendered;
}

static void assert_has(const char *text)
{
    if (strstr(rendered, text) == NULL) {
        fail_msg("no \"%s\" in:\n%s", text, rendered);
    }
}

static void assert_has_not(const char *text)
{
    if (strstr(rendered, text) != NULL) {
        fail_msg("\"%s\" in:\n%s", text, rendered);
    }
}

static void assert_starts(const char *text, const char *start)
{
    if (strncmp(text, start, strlen(start)) != 0) {
        fail_msg("no \"%s\" at the start of:\n%s", start, text);
    }
}

static const char *body(void)
{
    return strstr(rendered, "\r\n\r\n") + 4;
}

static void form_message_is_what_the_first_opq_sent_and_more(void **state)
{
    (void)state;
    message.url = STR("http://127.0.0.1:9000/sink?comment=nny&user=q18");
    add_field("message", "hello 0 & \xc3\xa9+");
    add_header("Accept", "*/*");
    add_header("User-Agent", "curl/7.88.1");
    add_header("Content-Type", "multipart/form-data; boundary=x");
    stored.name_str = STR("a");
    assert_string_equal(
        render(),
        "POST /sink?comment=nny&user=q18 HTTP/1.1\r\n"
        "Host: 127.0.0.1:9000\r\n"
        "Accept: */*\r\n"
        "User-Agent: curl/7.88.1\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n"
        "Content-Length: 107\r\n"
        "webhook-id: msg_000000000000001f-1\r\n"
        "webhook-timestamp: 1700000000\r\n"
        "Opq-Topic: a\r\n"
        "Opq-Seq: 1\r\n"
        "Opq-Prev-Seq: 0\r\n"
        "Opq-Attempt: 1\r\n"
        "\r\n"
        "message=hello+0+%26+%C3%A9%2B&topic=a&"
        "url=http%3A%2F%2F127.0.0.1%3A9000%2Fsink%3Fcomment%3Dnny%26user%3D"
        "q18");
    assert_int_equal(strlen(body()), 107);
}

static void fields_are_sorted_and_repeats_keep_their_order(void **state)
{
    (void)state;
    add_field("z", "last");
    add_field("b", "2");
    add_field("u", "x");
    add_field("b", "1");
    add_field("", "nameless");
    add_field("a~-._", "");
    add_field("B", "capital");
    add_field("b", "3");
    stored.name_str = STR("t");
    (void)render();
    assert_string_equal(body(),
                        "=nameless&B=capital&a~-._=&b=2&b=1&b=3&topic=t&u=x&"
                        "url=http%3A%2F%2F127.0.0.1%3A9000%2Fsink&z=last");
}

static void as_many_fields_as_a_message_may_have_are_sent(void **state)
{
    (void)state;
    static char names[MESSAGE_PAIRS_MAX][16];
    for (int i = 0; i < MESSAGE_PAIRS_MAX; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "f%02d",
                       MESSAGE_PAIRS_MAX - 1 - i);
        add_field(names[i], "v");
    }
    (void)render();
    assert_starts(body(), "f00=v&f01=v&f02=v&");
    assert_has("f99=v&topic=orders&url=");
}

static void raw_body_goes_byte_for_byte_with_its_type(void **state)
{
    (void)state;
    static const char bytes[] = "{\"a\":\0\xff\r\n\r\n}";
    struct iovec parts[OUTGOING_PARTS];

    message.body = (struct str){bytes, sizeof(bytes) - 1};
    message.content_type = STR("application/json; charset=utf-8");
    add_header("content-type", "text/plain");
    (void)render();
    assert_has("\r\nContent-Type: application/json; charset=utf-8\r\n");
    assert_has("\r\nContent-Length: 12\r\n");
    assert_has_not("text/plain");
    assert_int_equal(outgoing_parts(&outgoing, parts), 2);
    assert_int_equal(parts[1].iov_len, 12);
    assert_memory_equal(parts[1].iov_base, bytes, 12);
    assert_ptr_not_equal(parts[1].iov_base, bytes); /* a copy */
}

static void raw_message_without_a_type_keeps_a_header_that_has_one(void **state)
{
    (void)state;
    message.body = STR("x");
    (void)render();
    assert_has_not("Content-Type");
    add_header("Content-type", "text/csv");
    (void)render();
    assert_has("\r\nContent-type: text/csv\r\n");
}

static void headers_of_one_connection_are_left_out(void **state)
{
    (void)state;
    static const char *const names[] = {
        "Connection",        "keep-alive",  "Proxy-Connection",
        "Proxy-Anything",    "TE",          "Trailer",
        "Transfer-Encoding", "Upgrade",     "Expect",
        "Content-Length",    "HOST",        "Webhook-Id",
        "webhook-timestamp", "OPQ-TOPIC",   "Opq-Seq",
        "opq-prev-seq",      "Opq-attempt",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_true(forward_drops(str_from(names[i])));
        message.header_count = 0;
        add_header(names[i], "chunked-evil");
        add_header("X-Kept", "1");
        (void)render();
        assert_has_not("evil");
        assert_has("\r\nX-Kept: 1\r\n");
    }
    assert_false(forward_drops(STR("X-Connection")));
    assert_false(forward_drops(STR("Proxy")));
    assert_false(forward_drops(STR("Authorization")));
    assert_false(forward_drops(STR("Cookie")));
}

static void headers_that_connection_names_are_left_out(void **state)
{
    (void)state;
    add_header("X-Private", "evil");
    add_header("Connection", "close, x-private");
    add_header("connection", "X-Other");
    add_header("X-Other", "evil");
    add_header("X-Public", "kept");
    (void)render();
    assert_has_not("evil");
    assert_has("\r\nX-Public: kept\r\n");
}

static void header_that_would_break_the_framing_is_left_out(void **state)
{
    (void)state;
    add_header("X-A", "1\r\nX-Evil: 1");
    add_header("X Evil", "1");
    add_header("", "Evil");
    add_header("X-Evil:", "1");
    add_header("X-B", "2\tb \xc3\xa9");
    message.body = STR("x");
    message.content_type = STR("text/plain\r\nX-Evil: 2");
    (void)render();
    assert_has_not("Evil");
    assert_has("\r\nX-B: 2\tb \xc3\xa9\r\n");
}

static void own_user_agent_only_when_the_message_has_none(void **state)
{
    (void)state;
    (void)render();
    assert_has("\r\nUser-Agent: OPQ/1.0\r\n");
    add_header("user-agent", "mine");
    (void)render();
    assert_has("\r\nuser-agent: mine\r\n");
    assert_has_not("OPQ/1.0");
}

static void first_message_has_no_previous_one(void **state)
{
    (void)state;
    assert_int_equal(render_as(0, 7), ERR_OK);
    assert_has("\r\nOpq-Seq: 0\r\n");
    assert_has("\r\nOpq-Attempt: 7\r\n");
    assert_has_not("Opq-Prev-Seq");
    assert_int_equal(render_as(UINT64_MAX, 1), ERR_OK);
    assert_has("\r\nOpq-Seq: 18446744073709551615\r\n");
    assert_has("\r\nOpq-Prev-Seq: 18446744073709551614\r\n");
}

static void target_is_never_empty_and_has_no_fragment(void **state)
{
    (void)state;
    message.url = STR("http://example.com");
    assert_starts(render(), "POST / HTTP/1.1\r\nHost: example.com\r\n");
    message.url = STR("http://example.com?a=b#f");
    assert_starts(render(), "POST /?a=b HTTP/1.1\r\n");
    message.url = STR("http://[::1]:80/x%20y?#f");
    assert_starts(render(), "POST /x%20y? HTTP/1.1\r\nHost: [::1]:80\r\n");
}

static void method_is_the_messages(void **state)
{
    (void)state;
    message.method = STR("PUT");
    assert_starts(render(), "PUT /sink ");
    assert_has("\r\nContent-Length: 0\r\n");
    assert_false(outgoing.head_only);
    message.method = STR("HEAD");
    (void)render();
    assert_has_not("Content-Length");
    assert_true(outgoing.head_only);
    message.method = STR("DELETE");
    message.body = STR("why");
    (void)render();
    assert_has("\r\nContent-Length: 3\r\n");
    assert_false(outgoing.head_only);
}

static void method_that_cannot_be_sent_is_refused(void **state)
{
    (void)state;
    static const char *const methods[] = {"CONNECT", "GET /", "P\r\nX", "A:B"};

    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        message.method = str_from(methods[i]);
        assert_int_equal(render_as(1, 1), ERR_INVALID);
        assert_string_equal(outgoing.why, "the method cannot be sent");
    }
    message.method = STR("PUT");
    (void)render();
    assert_null(outgoing.why);
}

static void message_keeps_the_id_it_was_given(void **state)
{
    char memory[OUTGOING_ID_SIZE_MAX];

    (void)state;
    message.options = &options;
    options.id = STR("msg_000000000000002a-7");
    (void)render();
    assert_has("\r\nwebhook-id: msg_000000000000002a-7\r\n");
    assert_true(str_equal(outgoing_id(&message, &context, memory), options.id));
    options.id = STR("x\r\nX-Evil: 1");
    (void)render();
    assert_has("\r\nwebhook-id: msg_000000000000001f-1\r\n");
    assert_has_not("Evil");
    options.id = STR("");
    assert_true(str_equal(outgoing_id(&message, &context, memory),
                          STR("msg_000000000000001f-1")));
}

static void lane_tells_what_came_before(void **state)
{
    struct url url;
    const char *reason = NULL;

    (void)state;
    assert_int_equal(url_parse(message.url, &url, &reason), ERR_OK);
    context.topic = &topic;
    context.url = &url;
    context.sequence = 9;
    context.previous = 4;
    context.has_previous = true;
    assert_int_equal(outgoing_render(&outgoing, &message, &context), ERR_OK);
    buf_append_byte(&outgoing.head, '\0');
    assert_non_null(strstr(outgoing.head.data, "\r\nOpq-Prev-Seq: 4\r\n"));
    context.has_previous = false;
    assert_int_equal(outgoing_render(&outgoing, &message, &context), ERR_OK);
    buf_append_byte(&outgoing.head, '\0');
    assert_null(strstr(outgoing.head.data, "Opq-Prev-Seq"));
}

static void replay_says_which_one_it_is(void **state)
{
    (void)state;
    (void)render();
    assert_has_not("Opq-Replay");
    context.replay = STR("rpl_1");
    (void)render();
    assert_has("\r\nOpq-Replay: rpl_1\r\n");
}

static void another_url_stands_in_for_the_messages(void **state)
{
    struct url url;
    const char *reason = NULL;

    (void)state;
    add_field("message", "x");
    assert_int_equal(url_parse(STR("https://b.example/in?c"), &url, &reason),
                     ERR_OK);
    context.url = &url;
    assert_starts(render(), "POST /in?c HTTP/1.1\r\nHost: b.example\r\n");
    assert_non_null(strstr(body(), "&url=http%3A%2F%2F127.0.0.1"));
    message.url = STR("http://a.example/");
    (void)render();
    assert_non_null(strstr(body(), "&url=http%3A%2F%2Fa.example%2F"));
}

/* A push for subscriptions has no URL, and its form no such field. */
static void form_without_a_url_has_no_such_field(void **state)
{
    struct url url;
    const char *reason = NULL;

    (void)state;
    add_field("message", "x");
    message.url = STR("");
    assert_int_equal(url_parse(STR("http://b.example/"), &url, &reason),
                     ERR_OK);
    context.topic = &topic;
    context.url = &url;
    assert_int_equal(outgoing_render(&outgoing, &message, &context), ERR_OK);
    assert_true(
        str_equal(buf_str(&outgoing.body), STR("message=x&topic=orders")));
}

static void headers_of_settings_replace_those_of_the_push(void **state)
{
    (void)state;
    load_secrets("token abc\n");
    message.body = STR("x");
    message.content_type = STR("text/plain");
    add_header("X-Team", "push");
    add_header("x-team", "push");
    add_header("X-Kept", "${secret:token}");
    add_header("User-Agent", "push");
    context.headers = STR("X-Team: ours\nAuthorization: Bearer "
                          "${secret:token}\nUser-Agent: u\nContent-Type: c/t\n"
                          "Opq-Seq: 99\nX-Team: again");
    (void)render();
    assert_has("\r\nX-Kept: ${secret:token}\r\n"); /* of a push: as it came */
    assert_has("\r\nX-Team: ours\r\nAuthorization: Bearer abc\r\n"
               "User-Agent: u\r\nContent-Type: c/t\r\nX-Team: again\r\n");
    assert_has_not("push");
    assert_has_not("OPQ/1.0");
    assert_has_not("text/plain");
    assert_has_not("99");
    /* Nothing of it is left in memory that is used again. */
    assert_true(outgoing.has_secret);
    outgoing_clear(&outgoing);
    assert_null(memmem(outgoing.head.data, outgoing.head.capacity, "abc", 3));
    assert_null(
        memmem(outgoing.settings.data, outgoing.settings.capacity, "abc", 3));
}

static void secret_that_is_not_there_is_no_delivery(void **state)
{
    (void)state;
    load_secrets("token abc\n"
                 "key whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"
                 "public whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=\n");
    context.headers = STR("A: ${secret:token} ${secret:gone}");
    assert_int_equal(render_as(1, 1), ERR_NOT_FOUND);
    assert_string_equal(outgoing.why, "no such secret is in force");
    assert_true(str_equal(outgoing.wrong, STR("gone")));
    context.headers = STR("A: ${secret:key}");
    assert_int_equal(render_as(1, 1), ERR_NOT_FOUND);
    assert_string_equal(outgoing.why, "the secret is no text for a header");
    context.headers = STR("");
    context.secret_names = STR("key, gone");
    assert_int_equal(render_as(1, 1), ERR_NOT_FOUND);
    assert_true(str_equal(outgoing.wrong, STR("gone")));
    context.secret_names = STR("token");
    assert_int_equal(render_as(1, 1), ERR_NOT_FOUND);
    assert_string_equal(outgoing.why, "the secret is no key to sign with");
    static char large[SIGN_WHOLE_SIZE_MAX + 1];
    message.body = (struct str){large, sizeof(large)};
    context.secret_names = STR("public");
    assert_int_equal(render_as(1, 1), ERR_TOO_LARGE);
    assert_non_null(outgoing.why);
    message.body = STR("");
    assert_int_equal(render_as(1, 1), ERR_OK);
    assert_null(outgoing.why);
}

static void delivery_is_signed_as_the_specification_says(void **state)
{
    (void)state;
    load_secrets("shop whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
    message.options = &options;
    options.id = STR("msg_p5jXN8AQM9LWM0D4loKWxJek");
    message.body = STR("{\"test\": 2432232314}");
    (void)render();
    assert_has_not("webhook-signature");
    context.secret_names = STR("shop");
    context.now_s = 1614265330;
    (void)render();
    assert_has("\r\nwebhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek\r\n");
    assert_has("\r\nwebhook-timestamp: 1614265330\r\n");
    assert_has("\r\nwebhook-signature: "
               "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=\r\n");
    /* Of a body in a file it is made before. */
    message.body = STR("");
    message.blob.size = 20;
    assert_int_equal(render_as(1, 1), ERR_AGAIN);
    context.signature = STR("v1,made");
    (void)render();
    assert_has("\r\nwebhook-signature: v1,made\r\n");
    assert_has("\r\nContent-Length: 20\r\n");
}

static void form_is_signed_as_it_is_sent(void **state)
{
    char value[SIGN_SIZE_MAX];
    size_t size = 0;
    struct str wrong;

    (void)state;
    load_secrets("shop whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
    context.secret_names = STR("shop");
    add_field("message", "a b");
    (void)render();
    const struct sign_content content = {
        .id = STR("msg_000000000000001f-1"),
        .timestamp_s = 1700000000,
        .body_size = strlen(body()),
    };
    assert_int_equal(sign_begin(&sign, secrets, STR("shop"), &content, &wrong),
                     ERR_OK);
    sign_update(&sign, str_from(body()));
    assert_int_equal(sign_finish(&sign, value, &size), ERR_OK);
    value[size] = '\0';
    assert_has(value);
    assert_int_equal(size, 47);
}

static void memory_of_usual_size_is_used_again_and_large_one_freed(void **state)
{
    (void)state;
    static char large[OUTGOING_KEEP_MAX + 1];
    struct url url;
    const char *reason = NULL;

    message.body = STR("small");
    (void)render();
    const char *head = outgoing.head.data;
    const char *small = outgoing.body.data;
    outgoing_clear(&outgoing);
    (void)render();
    assert_ptr_equal(outgoing.head.data, head);
    assert_ptr_equal(outgoing.body.data, small);

    assert_int_equal(url_parse(message.url, &url, &reason), ERR_OK);
    context.url = &url;
    message.body = (struct str){large, sizeof(large)};
    assert_int_equal(outgoing_render(&outgoing, &message, &context), ERR_OK);
    assert_int_equal(outgoing.body.size, sizeof(large));
    outgoing_clear(&outgoing);
    assert_int_equal(outgoing.body.capacity, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(form_message_is_what_the_first_opq_sent_and_more),
        CASE(fields_are_sorted_and_repeats_keep_their_order),
        CASE(as_many_fields_as_a_message_may_have_are_sent),
        CASE(raw_body_goes_byte_for_byte_with_its_type),
        CASE(raw_message_without_a_type_keeps_a_header_that_has_one),
        CASE(headers_of_one_connection_are_left_out),
        CASE(headers_that_connection_names_are_left_out),
        CASE(header_that_would_break_the_framing_is_left_out),
        CASE(own_user_agent_only_when_the_message_has_none),
        CASE(first_message_has_no_previous_one),
        CASE(target_is_never_empty_and_has_no_fragment),
        CASE(method_is_the_messages),
        CASE(method_that_cannot_be_sent_is_refused),
        CASE(message_keeps_the_id_it_was_given),
        CASE(lane_tells_what_came_before),
        CASE(replay_says_which_one_it_is),
        CASE(another_url_stands_in_for_the_messages),
        CASE(form_without_a_url_has_no_such_field),
        CASE(headers_of_settings_replace_those_of_the_push),
        CASE(secret_that_is_not_there_is_no_delivery),
        CASE(delivery_is_signed_as_the_specification_says),
        CASE(form_is_signed_as_it_is_sent),
        CASE(memory_of_usual_size_is_used_again_and_large_one_freed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
