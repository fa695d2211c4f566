/* How a sink misbehaves, and when.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/sink_plan.h"

#include "base/check.h"

enum { STATUS_MIN = 200, STATUS_MAX = 599, ALWAYS = 1000 };

/* Take the next part up to `mark`. */
static struct str take_part(struct str *text, char mark)
{
    size_t end = str_find(*text, mark);
    struct str part = str_cut(*text, 0, end);

    *text = str_cut(*text, end + 1, text->size);
    return part;
}

static bool read_range(struct str text, struct sink_range *range)
{
    size_t dash = str_find(text, '-');

    if (str_to_u64(str_cut(text, 0, dash), &range->first) != ERR_OK) {
        return false;
    }
    range->last = range->first;
    range->given = true;
    return dash == text.size || (str_to_u64(str_cut(text, dash + 1, text.size),
                                            &range->last) == ERR_OK &&
                                 range->last >= range->first);
}

/* Read "10%" or "0.5%". */
static bool read_chance(struct str text, uint32_t *out_per_mille)
{
    struct str number = str_cut(text, 0, text.size - 1);
    struct str fraction = number;
    struct str whole = take_part(&fraction, '.');
    uint64_t percent = 0;
    uint64_t tenths = 0;

    if (str_to_u64(whole, &percent) != ERR_OK || percent > 100 ||
        fraction.size > 1 ||
        (fraction.size == 1 && str_to_u64(fraction, &tenths) != ERR_OK) ||
        percent * 10 + tenths > ALWAYS) {
        return false;
    }
    *out_per_mille = (uint32_t)(percent * 10 + tenths);
    return true;
}

/* Read a duration that fits into 32 bits. */
static bool read_ms(struct str text, uint32_t *out_ms)
{
    uint64_t ms = 0;

    if (str_to_duration_ms(text, &ms) != ERR_OK || ms > UINT32_MAX) {
        return false;
    }
    *out_ms = (uint32_t)ms;
    return true;
}

/* Read a span for Retry-After, which has whole seconds. */
static bool read_retry_after(struct str text, struct sink_rule *rule)
{
    uint32_t ms = 0;

    if (rule->action != SINK_ANSWER || !read_ms(text, &ms) || ms == 0 ||
        ms % 1000 > 0) {
        return false;
    }
    rule->retry_after_s = ms / 1000;
    return true;
}

static bool read_condition(struct str text, struct sink_rule *rule)
{
    struct str value = text;
    struct str name = take_part(&value, '=');
    uint64_t number = 0;

    if (text.size > 0 && text.data[text.size - 1] == '%') {
        return read_chance(text, &rule->per_mille);
    }
    if (str_equal(name, STR("seq"))) {
        return read_range(value, &rule->sequence);
    }
    if (str_equal(name, STR("attempt"))) {
        return read_range(value, &rule->attempt);
    }
    if (str_equal(name, STR("topic"))) {
        rule->topic = value;
        return value.size > 0;
    }
    if (str_equal(name, STR("retry-after"))) {
        return read_retry_after(value, rule);
    }
    if (str_equal(name, STR("every")) && str_to_u64(value, &number) == ERR_OK &&
        number > 0 && number <= UINT32_MAX) {
        rule->every = (uint32_t)number;
        return true;
    }
    return false;
}

const char *sink_plan_action_text(enum sink_action action)
{
    static const char *const texts[SINK_ACTIONS] = {
        [SINK_ANSWER] = "answer", [SINK_HANG] = "hang",
        [SINK_RESET] = "reset",   [SINK_CLOSE] = "close",
        [SINK_DRIP] = "drip",     [SINK_GARBAGE] = "garbage",
    };

    CHECK(action >= 0 && action < SINK_ACTIONS);
    return texts[action];
}

/* Read an action by its name, with what it needs; a status has none. */
static bool
read_named(struct str name, struct str *rest, struct sink_rule *rule)
{
    for (int index = SINK_HANG; index < SINK_ACTIONS; index++) {
        enum sink_action action = (enum sink_action)index;
        if (str_equal(name, str_from(sink_plan_action_text(action)))) {
            rule->action = action;
            return action != SINK_DRIP ||
                   (read_ms(take_part(rest, ':'), &rule->delay_ms) &&
                    rule->delay_ms > 0);
        }
    }
    rule->status = 200;
    return str_equal(name, STR("slow")) &&
           read_ms(take_part(rest, ':'), &rule->delay_ms);
}

/* Read what to do; `*rest` goes on behind it. */
static bool read_action(struct str *rest, struct sink_rule *rule)
{
    struct str name = take_part(rest, ':');
    uint64_t number = 0;

    if (str_to_u64(name, &number) != ERR_OK) {
        return read_named(name, rest, rule);
    }
    rule->status = (int)number;
    return number >= STATUS_MIN && number <= STATUS_MAX;
}

static bool read_rule(struct str text, struct sink_rule *rule)
{
    *rule = (struct sink_rule){.per_mille = ALWAYS};
    if (!read_action(&text, rule)) {
        return false;
    }
    while (text.size > 0) {
        if (!read_condition(take_part(&text, ':'), rule)) {
            return false;
        }
    }
    return true;
}

enum err sink_plan_parse(struct str text,
                         uint64_t seed,
                         struct sink_plan *out_plan,
                         struct buf *detail)
{
    struct sink_plan plan = {.random = seed | 1};

    while (text.size > 0) {
        struct str rule = take_part(&text, ',');
        if (plan.rule_count == SINK_PLAN_RULES_MAX) {
            buf_append_format(detail, "more than %d rules",
                              SINK_PLAN_RULES_MAX);
            return ERR_INVALID;
        }
        if (!read_rule(rule, &plan.rules[plan.rule_count])) {
            buf_append_c(detail, "not a rule: ");
            buf_append_str(detail, str_cut(rule, 0, 64));
            return ERR_INVALID;
        }
        plan.rule_count++;
    }
    *out_plan = plan;
    return ERR_OK;
}

/* Xorshift, 64 bits (Marsaglia 2003). */
static uint64_t next_random(struct sink_plan *plan)
{
    uint64_t state = plan->random;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    plan->random = state;
    return state;
}

static bool in_range(const struct sink_range *range, uint64_t value)
{
    return !range->given || (value >= range->first && value <= range->last);
}

const struct sink_rule *sink_plan_rule(struct sink_plan *plan,
                                       const struct sink_request *request)
{
    for (uint32_t index = 0; index < plan->rule_count; index++) {
        struct sink_rule *rule = &plan->rules[index];
        if (!in_range(&rule->sequence, request->sequence) ||
            !in_range(&rule->attempt, request->attempt) ||
            (rule->topic.size > 0 && !str_equal(rule->topic, request->topic))) {
            continue;
        }
        if (rule->per_mille < ALWAYS &&
            next_random(plan) % ALWAYS >= rule->per_mille) {
            continue;
        }
        if (rule->every > 0) {
            rule->counted++;
            if (rule->counted % rule->every != 0) {
                continue;
            }
        }
        return rule;
    }
    return NULL;
}
