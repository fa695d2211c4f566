/* Phrases of statuses, and dates.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/parse.h"

#include "base/check.h"

#include <string.h>

enum {
    DAY_S = 86400,
    YEAR_MIN = 1970,
    YEAR_PIVOT = 70,   /* of two digits: 70 to 99 are 19xx */
    ERA_DAYS = 146097, /* of 400 years */
    DATE_SIZE = 29,
};

struct phrase {
    int status;
    const char *text;
};

static const struct phrase phrases[] = {
    {100, "Continue"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {207, "Multi-Status"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {425, "Too Early"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {451, "Unavailable For Legal Reasons"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed",
                                "Thu", "Fri", "Sat"};
static const char *const long_days[7] = {
    "Sunday",   "Monday", "Tuesday",  "Wednesday",
    "Thursday", "Friday", "Saturday",
};
static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

const char *http_status_text(int status)
{
    for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++) {
        if (phrases[i].status == status) {
            return phrases[i].text;
        }
    }
    return "Unknown";
}

/* --- calendar ------------------------------------------------------------ */

struct date {
    uint64_t year;  /* 1970 to 9999 */
    uint64_t month; /* 1 to 12 */
    uint64_t day;   /* 1 to 31 */
    uint64_t hour;
    uint64_t minute;
    uint64_t second; /* 60 is a leap second */
};

/* Days from 0000-03-01 to a day. Years that begin in March put the leap day
 * at their end, and the lengths of months on a line. */
static uint64_t day_number(uint64_t year, uint64_t month, uint64_t day)
{
    uint64_t shifted_year = month > 2 ? year : year - 1;
    uint64_t shifted_month = (month + 9) % 12;
    uint64_t leaps = shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
    return shifted_year * 365 + leaps + (153 * shifted_month + 2) / 5 + day - 1;
}

/* The other way round: `number` of 0000-03-01 and later. */
static void date_of_day(uint64_t number, struct date *out)
{
    uint64_t era = number / ERA_DAYS;
    uint64_t of_era = number % ERA_DAYS;
    uint64_t year_of_era =
        (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint64_t of_year =
        of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint64_t shifted_month = (5 * of_year + 2) / 153;
    out->day = of_year - (153 * shifted_month + 2) / 5 + 1;
    out->month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
    out->year = era * 400 + year_of_era + (out->month <= 2 ? 1 : 0);
}

static uint64_t month_days(uint64_t year, uint64_t month)
{
    static const uint8_t count[12] = {31, 28, 31, 30, 31, 30,
                                      31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return count[month - 1] + (month == 2 && leap ? 1U : 0U);
}

static enum err date_to_unix(const struct date *date, uint64_t *out_unix_s)
{
    if (date->year < YEAR_MIN || date->month < 1 || date->month > 12 ||
        date->day < 1 || date->day > month_days(date->year, date->month) ||
        date->hour > 23 || date->minute > 59 || date->second > 60) {
        return ERR_INVALID;
    }
    uint64_t number = day_number(date->year, date->month, date->day) -
                      day_number(YEAR_MIN, 1, 1);
    *out_unix_s =
        number * DAY_S + date->hour * 3600 + date->minute * 60 + date->second;
    return ERR_OK;
}

/* --- reading: a text is matched against a pattern ------------------------ */

/* Take a name of three letters out of a table; 0-based index, or `count`. */
static size_t name_index(struct str text, const char (*names)[4], size_t count)
{
    size_t index = 0;
    while (index < count &&
           !str_equal(str_cut(text, 0, 3), (struct str){names[index], 3})) {
        index++;
    }
    return index;
}

/* Where a digit of the pattern goes. */
static uint64_t *number_of(struct date *date, char letter)
{
    switch (letter) {
    case 'Y':
        return &date->year;
    case 'd':
    case 'e':
        return &date->day;
    case 'h':
        return &date->hour;
    case 'm':
        return &date->minute;
    case 's':
        return &date->second;
    default:
        return NULL;
    }
}

/* Match: Y d h m s stand for one digit each, e for a digit or a blank, b for
 * the three letters of a month; others for themselves. */
static enum err
match_date(struct str text, const char *pattern, struct date *out)
{
    size_t at = 0;
    for (; *pattern != '\0'; pattern++) {
        if (at == text.size) {
            return ERR_INVALID;
        }
        char byte = text.data[at];
        uint64_t *number = number_of(out, *pattern);
        if (*pattern == 'b') {
            out->month = name_index(str_cut(text, at, 3), months, 12) + 1;
            at += 3;
            if (at > text.size) {
                return ERR_INVALID;
            }
            continue;
        }
        if (number != NULL && byte >= '0' && byte <= '9') {
            *number = *number * 10 + (uint64_t)(byte - '0');
        } else if (!(*pattern == 'e' && byte == ' ') &&
                   (number != NULL || byte != *pattern)) {
            return ERR_INVALID;
        }
        at++;
    }
    return at == text.size ? ERR_OK : ERR_INVALID;
}

/* "Sunday, 06-Nov-94 08:49:37 GMT" */
static enum err parse_long_date(struct str text, struct date *out)
{
    size_t comma = str_find(text, ',');
    bool known = false;
    for (size_t i = 0; i < 7; i++) {
        known =
            known || str_equal(str_cut(text, 0, comma), str_from(long_days[i]));
    }
    if (!known) {
        return ERR_INVALID;
    }
    enum err err = match_date(str_cut(text, comma, text.size),
                              ", dd-b-YY hh:mm:ss GMT", out);
    out->year += out->year >= YEAR_PIVOT ? 1900 : 2000;
    return err;
}

enum err http_parse_date(struct str text, uint64_t *out_unix_s)
{
    struct date date = {0};
    struct str rest = str_cut(text, 3, text.size);
    enum err err = ERR_INVALID;
    if (name_index(text, days, 7) < 7 && rest.size > 0 && rest.data[0] == ',') {
        err = match_date(rest, ", dd b YYYY hh:mm:ss GMT", &date);
    } else if (name_index(text, days, 7) < 7 && rest.size > 0 &&
               rest.data[0] == ' ') {
        err = match_date(rest, " b ed hh:mm:ss YYYY", &date);
    } else {
        err = parse_long_date(text, &date);
    }
    return err == ERR_OK ? date_to_unix(&date, out_unix_s) : err;
}

/* --- writing ------------------------------------------------------------- */

static void put_digits(char *to, uint64_t value, size_t count)
{
    while (count > 0) {
        to[--count] = (char)('0' + value % 10);
        value /= 10;
    }
}

void http_format_date(uint64_t unix_s, char text[30])
{
    struct date date = {0};
    uint64_t number = unix_s / DAY_S;
    uint64_t of_day = unix_s % DAY_S;
    date_of_day(number + day_number(YEAR_MIN, 1, 1), &date);
    memcpy(text, "Sun, 00 Jan 0000 00:00:00 GMT", DATE_SIZE + 1);
    memcpy(text, days[(number + 4) % 7], 3);
    put_digits(text + 5, date.day, 2);
    memcpy(text + 8, months[date.month - 1], 3);
    put_digits(text + 12, date.year, 4);
    put_digits(text + 17, of_day / 3600, 2);
    put_digits(text + 20, of_day / 60 % 60, 2);
    put_digits(text + 23, of_day % 60, 2);
}
