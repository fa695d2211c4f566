/* Numbers of JSON compared by value.
 *
 * A number is brought to sign, digits without zeros at either end, and the
 * power of ten of the last of them; that form is unique. Nothing is copied: the
 * digits are read where they are, their point passed over.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/json_number.h"

#include <stdint.h>

enum { EXPONENT_DIGITS_MAX = 15 };

struct decimal {
    bool negative;
    struct str digits; /* from the first to the last that is not 0, perhaps with
                          a point in it; empty: the number is 0 */
    int64_t exponent;  /* of the last digit */
};

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

/* The number behind an 'e'. */
static int64_t read_exponent(struct str text)
{
    bool negative = text.size > 0 && text.data[0] == '-';
    int64_t exponent = 0;
    int digits = 0;

    for (size_t i = 0; i < text.size && digits < EXPONENT_DIGITS_MAX; i++) {
        if (is_digit(text.data[i])) {
            exponent = exponent * 10 + (text.data[i] - '0');
            digits += exponent > 0 ? 1 : 0;
        }
    }
    return negative ? -exponent : exponent;
}

static struct decimal read_decimal(struct str text)
{
    struct decimal decimal = {.negative = false};

    if (text.size > 0 && text.data[0] == '-') {
        decimal.negative = true;
        text = str_cut(text, 1, text.size);
    }
    size_t end = 0; /* of the digits */
    while (end < text.size && text.data[end] != 'e' && text.data[end] != 'E') {
        end++;
    }
    decimal.exponent = read_exponent(str_cut(text, end + 1, text.size));
    struct str digits = str_cut(text, 0, end);
    size_t point = str_find(digits, '.');
    while (digits.size > 0 && (digits.data[digits.size - 1] == '0' ||
                               digits.data[digits.size - 1] == '.')) {
        digits.size--;
    }
    size_t last = digits.size; /* one past the last digit that is not 0 */
    decimal.exponent +=
        last > point ? -(int64_t)(last - point - 1) : (int64_t)(point - last);
    size_t first = 0;
    while (first < digits.size &&
           (digits.data[first] == '0' || digits.data[first] == '.')) {
        first++;
    }
    decimal.digits = str_cut(digits, first, digits.size);
    if (decimal.digits.size == 0) {
        return (struct decimal){.negative = false}; /* 0, and -0 */
    }
    return decimal;
}

/* Take the next digit; 0 at the end. */
static char take_digit(struct str *digits)
{
    if (digits->size > 0 && digits->data[0] == '.') {
        *digits = str_cut(*digits, 1, digits->size);
    }
    char digit = digits->size > 0 ? digits->data[0] : '\0';
    *digits = str_cut(*digits, 1, digits->size);
    return digit;
}

bool json_number_equal(struct str left, struct str right)
{
    struct decimal one = read_decimal(left);
    struct decimal other = read_decimal(right);

    if (one.negative != other.negative || one.exponent != other.exponent) {
        return false;
    }
    for (;;) {
        char digit = take_digit(&one.digits);
        if (digit != take_digit(&other.digits)) {
            return false;
        }
        if (digit == '\0') {
            return true;
        }
    }
}
