/* `opq bench push`: how fast a server answers durable pushes.
 *
 * The same bodies on the same number of connections against any server make a
 * comparison: give nginx's URL, then OPQ's.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/bench.h"
#include "cli/cli_internal.h"

#include <string.h>

/* An option that is a number, a size or a duration, with its bounds. */
struct number {
    const char *name;
    const char *text; /* as given, or the default */
    enum err (*read)(struct str text, uint64_t *out_number);
    uint64_t min;
    uint64_t max;
    uint64_t value;
};

enum {
    NUMBER_CONNECTIONS,
    NUMBER_PIPELINE,
    NUMBER_TOPICS,
    NUMBER_BATCH,
    NUMBER_SIZE,
    NUMBER_WARMUP,
    NUMBER_DURATION,
    NUMBER_COUNT,
};

static const struct number defaults[NUMBER_COUNT] = {
    [NUMBER_CONNECTIONS] = {"connections", "64", str_to_u64, 1, 20000, 0},
    [NUMBER_PIPELINE] = {"pipeline", "1", str_to_u64, 1, 256, 0},
    [NUMBER_TOPICS] = {"topics", "1", str_to_u64, 1, 100000, 0},
    [NUMBER_BATCH] = {"batch", "0", str_to_u64, 0, 8000, 0},
    [NUMBER_SIZE] = {"size", "1k", str_to_size, 0, 1 << 30, 0},
    [NUMBER_WARMUP] = {"warmup", "500ms", str_to_duration_ms, 0, 3600000, 0},
    [NUMBER_DURATION] = {"duration", "5s", str_to_duration_ms, 1, 86400000, 0},
};

static int read_numbers(const struct cli_call *call, struct number *numbers)
{
    for (uint32_t index = 0; index < NUMBER_COUNT; index++) {
        struct number *number = &numbers[index];
        enum err err = number->read(str_from(number->text), &number->value);
        if (err != ERR_OK || number->value < number->min ||
            number->value > number->max) {
            return cli_complain(call, CLI_EXIT_USAGE,
                                "--%s must be from %llu to %llu", number->name,
                                (unsigned long long)number->min,
                                (unsigned long long)number->max);
        }
    }
    return CLI_EXIT_OK;
}

/* Read --form, which single pushes have. */
static int read_form(const struct cli_call *call,
                     const char *text,
                     struct bench_options *options)
{
    static const char *const names[] = {
        [BENCH_FORM_URLENCODED] = "urlencoded",
        [BENCH_FORM_MULTIPART] = "multipart",
        [BENCH_FORM_JSON] = "json",
        [BENCH_FORM_RAW] = "raw",
    };

    if (text == NULL) {
        return CLI_EXIT_OK;
    }
    if (options->batch > 0) {
        return cli_complain(call, CLI_EXIT_USAGE,
                            "--form is for single pushes; a --batch is JSON");
    }
    for (uint32_t index = 0; index < sizeof(names) / sizeof(names[0]);
         index++) {
        if (strcmp(text, names[index]) == 0) {
            options->form = (enum bench_form)index;
            return CLI_EXIT_OK;
        }
    }
    return cli_complain(call, CLI_EXIT_USAGE,
                        "--form must be urlencoded, multipart, json or raw");
}

static double percentile_us(const struct bench_result *result, double fraction)
{
    return (double)histogram_percentile(&result->latency_ns, fraction) / 1e3;
}

static int print_result(const struct cli_call *call,
                        const struct bench_options *options,
                        const struct bench_result *result)
{
    struct buf text = {0};
    double seconds = (double)result->elapsed_ns / 1e9;
    double rate = seconds > 0 ? (double)result->answers / seconds : 0;
    const char *format =
        call->json
            ? "{\"rate\":%.1f,\"answers\":%llu,\"seconds\":%.3f,"
              "\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,"
              "\"p999_us\":%.1f,\"p9999_us\":%.1f,"
              "\"refused\":%llu,\"last_status\":%d,\"broken\":%llu}\n"
            : "%.0f answers/s (%llu in %.2f s)\n"
              "latency: p50 %.0f us, p90 %.0f us, p99 %.0f us, p99.9 %.0f us, "
              "p99.99 %.0f us\n"
              "refused: %llu (last status %d), broken connections: %llu\n";

    buf_append_format(
        &text, format, rate, (unsigned long long)result->answers, seconds,
        percentile_us(result, 0.5), percentile_us(result, 0.9),
        percentile_us(result, 0.99), percentile_us(result, 0.999),
        percentile_us(result, 0.9999), (unsigned long long)result->refused,
        result->last_status, (unsigned long long)result->broken);
    if (!call->json && options->batch > 0) {
        buf_append_format(&text, "messages: %.0f/s\n",
                          rate * (double)options->batch);
    }
    int code = cli_print(&text);
    return result->refused + result->broken > 0 ? CLI_EXIT_FAILED : code;
}

static int run(const struct cli_call *call, struct bench_options *options)
{
    struct bench_result result;

    enum err err = bench_run(options, &result);
    if (err != ERR_OK) {
        return cli_complain(call, CLI_EXIT_UNREACHABLE, "%s: %s", options->url,
                            err == ERR_TLS ? result.detail : err_text(err));
    }
    return print_result(call, options, &result);
}

int cli_bench(int argument_count, char *const *arguments)
{
    struct number numbers[NUMBER_COUNT];
    struct bench_options options = {.target = "http://127.0.0.1:9000/in",
                                    .topic = "bench"};
    const char *form = NULL;
    struct cli_option table[NUMBER_COUNT + 4] = {
        {"target", &options.target, NULL, NULL},
        {"topic", &options.topic, NULL, NULL},
        {"form", &form, NULL, NULL},
    };
    struct cli_call call = {
        .command = "bench",
        .usage =
            "push [--connections 64] [--pipeline 1] [--topics 1]\n"
            "    [--batch 0] [--size 1k] [--duration 5s] [--warmup 500ms]\n"
            "    [--topic bench] [--target URL]\n"
            "    [--form urlencoded|multipart|json|raw]",
    };

    memcpy(numbers, defaults, sizeof(numbers));
    for (uint32_t index = 0; index < NUMBER_COUNT; index++) {
        table[index + 3] = (struct cli_option){
            numbers[index].name, &numbers[index].text, NULL, NULL};
    }
    int code = cli_parse(&call, argument_count, arguments, table, 1, 1);
    if (code != CLI_EXIT_OK || call.help) {
        cli_call_fini(&call);
        return code;
    }
    if (strcmp(call.words[0], "push") != 0) {
        code = cli_complain(&call, CLI_EXIT_USAGE, "%s: only push is there",
                            call.words[0]);
    } else {
        code = read_numbers(&call, numbers);
    }
    if (code == CLI_EXIT_OK) {
        options.url = call.url;
        options.ca_file = call.ca_file;
        options.headers = buf_str(&call.authorization);
        options.connections = (uint32_t)numbers[NUMBER_CONNECTIONS].value;
        options.pipeline = (uint32_t)numbers[NUMBER_PIPELINE].value;
        options.topics = (uint32_t)numbers[NUMBER_TOPICS].value;
        options.batch = (uint32_t)numbers[NUMBER_BATCH].value;
        options.size = numbers[NUMBER_SIZE].value;
        options.warmup_ms = (uint32_t)numbers[NUMBER_WARMUP].value;
        options.duration_ms = (uint32_t)numbers[NUMBER_DURATION].value;
        code = read_form(&call, form, &options);
    }
    if (code == CLI_EXIT_OK) {
        code = run(&call, &options);
    }
    cli_call_fini(&call);
    return code;
}
