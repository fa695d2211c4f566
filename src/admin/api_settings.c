/* Settings of a topic as the API names them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_settings.h"

#include <stdint.h>

struct setting {
    const char *name;
    /* Read a value; false when it has no sense. */
    bool (*set)(struct topic_settings *settings, struct str value);
    const char *wanted; /* for people */
};

static bool read_flag(struct str value, bool *out_flag)
{
    bool yes = str_equal(value, STR("yes")) || str_equal(value, STR("true")) ||
               str_equal(value, STR("1"));
    bool no = str_equal(value, STR("no")) || str_equal(value, STR("false")) ||
              str_equal(value, STR("0"));

    *out_flag = yes;
    return yes || no;
}

static bool set_paused(struct topic_settings *settings, struct str value)
{
    bool flag = false;

    if (!read_flag(value, &flag)) {
        return false;
    }
    settings->paused = flag;
    return true;
}

static bool set_timeout(struct topic_settings *settings, struct str value)
{
    uint64_t ms = 0;

    if (str_to_duration_ms(value, &ms) != ERR_OK || ms > UINT32_MAX) {
        return false;
    }
    settings->timeout_ms = (uint32_t)ms;
    return true;
}

static bool set_retain_age(struct topic_settings *settings, struct str value)
{
    return str_to_duration_ms(value, &settings->retention.age_ms) == ERR_OK;
}

/* Larger numbers are no JSON that every client can read and give back. */
static bool set_number(uint64_t *to, enum err err, uint64_t value)
{
    if (err != ERR_OK || value > INT64_MAX) {
        return false;
    }
    *to = value;
    return true;
}

static bool set_retain_bytes(struct topic_settings *settings, struct str value)
{
    uint64_t bytes = 0;
    enum err err = str_to_size(value, &bytes);

    return set_number(&settings->retention.bytes, err, bytes);
}

static bool set_retain_count(struct topic_settings *settings, struct str value)
{
    uint64_t count = 0;
    enum err err = str_to_u64(value, &count);

    return set_number(&settings->retention.count, err, count);
}

static bool set_discard(struct topic_settings *settings, struct str value)
{
    bool old = str_equal(value, STR("old"));

    if (!old && !str_equal(value, STR("new"))) {
        return false;
    }
    settings->retention.discard_old = old;
    return true;
}

static const struct setting settings_known[] = {
    {"paused", set_paused, "yes or no"},
    {"timeout", set_timeout,
     "a duration such as 250ms, 10s, 5m, of at most "
     "49 days; 0 takes the server's"},
    {"retain_age", set_retain_age, "a duration such as 12h or 7d; 0 is none"},
    {"retain_bytes", set_retain_bytes, "a size such as 64m or 2g; 0 is none"},
    {"retain_count", set_retain_count, "a number; 0 is none"},
    {"discard", set_discard, "new or old"},
};

enum { SETTING_COUNT = sizeof(settings_known) / sizeof(settings_known[0]) };

const char *api_settings_name(unsigned index)
{
    return index < SETTING_COUNT ? settings_known[index].name : NULL;
}

enum err api_settings_set(struct topic_settings *settings,
                          struct str name,
                          struct str value,
                          struct buf *detail)
{
    for (unsigned index = 0; index < SETTING_COUNT; index++) {
        const struct setting *setting = &settings_known[index];
        if (!str_equal(name, str_from(setting->name))) {
            continue;
        }
        if (setting->set(settings, str_trim(value))) {
            return ERR_OK;
        }
        buf_append_format(detail, "%s must be %s", setting->name,
                          setting->wanted);
        return ERR_INVALID;
    }
    buf_append_c(detail, "unknown setting: ");
    buf_append_str(detail, str_cut(name, 0, 64));
    return ERR_INVALID;
}

/* Append a duration in the largest unit that keeps it exact. */
static void append_duration(struct buf *to, uint64_t ms)
{
    static const struct {
        uint64_t ms;
        const char *unit;
    } units[] = {
        {86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"},
    };
    unsigned index = 0;

    while (units[index].ms > 1 && (ms == 0 || ms % units[index].ms != 0)) {
        index++;
        if (ms == 0 && units[index].ms == 1000) {
            break;
        }
    }
    buf_append_u64(to, ms / units[index].ms);
    buf_append_c(to, units[index].unit);
}

void api_settings_json(const struct topic_settings *settings, struct buf *to)
{
    const struct store_retention *retention = &settings->retention;

    buf_append_c(to, settings->paused ? "{\"paused\":true"
                                      : "{\"paused\":"
                                        "false");
    buf_append_c(to, ",\"timeout\":\"");
    append_duration(to, settings->timeout_ms);
    buf_append_c(to, "\",\"retain_age\":\"");
    append_duration(to, retention->age_ms);
    buf_append_c(to, "\",\"retain_bytes\":");
    buf_append_u64(to, retention->bytes);
    buf_append_c(to, ",\"retain_count\":");
    buf_append_u64(to, retention->count);
    buf_append_format(to, ",\"discard\":\"%s\"}",
                      retention->discard_old ? "old" : "new");
}
