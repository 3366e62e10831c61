/* SPDX-License-Identifier: MIT */
/* Numbers from text. strtod() and printf() use the locale's decimal point, so the point is exchanged before and after.
 * Any thread. */
#include "amqp/numbers.h"

#include <float.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

/* The digits as an integer. False: there are others, or it is above `most`. */
static bool read_digits(const char *text, size_t size, uint64_t most, uint64_t *integer)
{
    uint64_t value = 0;
    if (size == 0)
        return false;
    for (size_t i = 0; i < size; i++) {
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (!is_digit(text[i]) || value > (most - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *integer = value;
    return true;
}

bool cny_number_to_uint64(const char *text, size_t size, uint64_t *integer)
{
    bool is_negative = size > 0 && *text == '-';
    return read_digits(text + is_negative, size - is_negative, is_negative ? 0 : UINT64_MAX, integer);
}

bool cny_number_to_int64(const char *text, size_t size, int64_t *integer)
{
    uint64_t value;
    bool is_negative = size > 0 && *text == '-';
    uint64_t most = (uint64_t)INT64_MAX + is_negative;
    if (!read_digits(text + is_negative, size - is_negative, most, &value))
        return false;
    *integer = is_negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

/* ---- reals ---- */

void cny_decimal_point(char *text)
{
    const char *point = localeconv()->decimal_point;
    char *found = strcmp(point, ".") != 0 ? strstr(text, point) : NULL;
    if (!found)
        return;
    *found = '.';
    memmove(found + 1, found + strlen(point), strlen(found + strlen(point)) + 1);
}

/* strtod() of a text with '.'. */
static double call_strtod(const char *text, size_t size)
{
    const char *point = localeconv()->decimal_point;
    const char *dot = strcmp(point, ".") != 0 ? memchr(text, '.', size) : NULL;
    char copy[CNY_MAX_NUMBER + 16]; /* the point of a locale has 1 to 3 bytes */
    size_t extra = strlen(point);
    size_t before = dot ? (size_t)(dot - text) : size;
    memcpy(copy, text, before);
    copy[before] = '\0';
    if (dot) {
        memcpy(copy + before, point, extra);
        memcpy(copy + before + extra, dot + 1, size - before - 1);
        copy[size - 1 + extra] = '\0';
    }
    return strtod(copy, NULL);
}

/* Up to 15 digits and 22 places need no strtod(): both numbers are exact, so their quotient is rounded once. */
static bool is_short(const char *text, size_t size, double *real)
{
    static const double powers[] = {1,    1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    uint64_t digits = 0;
    size_t at = size > 0 && *text == '-', count = 0, places = 0;
    bool after_point = false;
    if (FLT_EVAL_METHOD != 0) /* more bits than a double has, so the quotient would be rounded twice */
        return false;
    for (; at < size && count <= 15; at++) {
        if (text[at] == '.' && !after_point) {
            after_point = true;
            continue;
        }
        if (!is_digit(text[at]))
            return false;
        digits = digits * 10 + (uint64_t)(text[at] - '0');
        count++;
        places += after_point;
    }
    if (at < size || count > 15)
        return false;
    *real = (double)digits / powers[places];
    *real = *text == '-' ? -*real : *real;
    return true;
}

double cny_number_to_double(const char *text, size_t size)
{
    double real;
    return size > 0 && is_short(text, size, &real) ? real : call_strtod(text, size);
}

double cny_text_to_double(const char *text)
{
    return cny_number_to_double(text, strlen(text));
}

int cny_hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    char lower = (char)(digit | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}
