/* SPDX-License-Identifier: MIT */
/* Writes the values of JSON: texts with their escapes, numbers in the same way in all locales, bytes as base64. Each
 * function reserves all its room at once. Any thread. */
#include "amqp/json_writer.h"

#include "amqp/amqp.h"
#include "amqp/numbers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

bool cny_write_raw(cny_buffer *to, const char *text, size_t size)
{
    return cny_buffer_append(to, text, size);
}

/* ---- strings ---- */

static bool write_escaped(cny_buffer *to, char byte)
{
    static const char hex[] = "0123456789abcdef", escapes[] = "bfnrt", characters[] = "\b\f\n\r\t";
    const char *found = byte ? strchr(characters, byte) : NULL;
    char unit[] = {'\\', 'u', '0', '0', hex[byte >> 4 & 1], hex[byte & 15]}, pair[] = {'\\', byte};
    if (found)
        pair[1] = escapes[found - characters];
    bool is_pair = found || (unsigned char)byte >= 0x20;
    return is_pair ? cny_buffer_append(to, pair, sizeof pair) : cny_buffer_append(to, unit, sizeof unit);
}

bool cny_write_string(cny_buffer *to, const char *text, size_t size)
{
    size_t before = to->size;
    bool ok = cny_write_byte(to, '"');
    while (ok && size > 0) {
        size_t plain = cny_plain_length(text, size);
        ok = cny_buffer_append(to, text, plain) && (plain == size || write_escaped(to, text[plain]));
        plain += plain < size;
        text += plain;
        size -= plain;
    }
    ok = ok && cny_write_byte(to, '"');
    to->size = ok ? to->size : before;
    return ok;
}

/* ---- numbers ---- */

bool cny_write_unsigned(cny_buffer *to, uint64_t integer)
{
    char digits[20], *at = digits + sizeof digits;
    do
        *--at = (char)('0' + integer % 10);
    while (integer /= 10);
    return cny_buffer_append(to, at, (size_t)(digits + sizeof digits - at));
}

/* Most numbers of programs have few digits after the point. n / 10^k is rounded as a reader rounds the same digits, so
 * the digits of n are right if the quotient is the number. */
static bool write_short(cny_buffer *to, double real, bool *written)
{
    static const double powers[] = {1, 10, 100, 1e3, 1e4, 1e5, 1e6};
    static const double most = 9007199254740992; /* 2^53: integers up to there are exact */
    *written = true;
    if (real == 0)
        return cny_buffer_append(to, signbit(real) ? "-0.0" : "0.0", signbit(real) ? 4 : 3);
    for (int places = 1; places <= 6 && fabs(real) * powers[places] < most; places++) {
        uint64_t digits = (uint64_t)(fabs(real) * powers[places] + 0.5);
        if ((double)digits / powers[places] != fabs(real))
            continue;
        uint64_t whole = digits / (uint64_t)powers[places], fraction = digits % (uint64_t)powers[places];
        char text[24], *at = text + sizeof text;
        for (int i = 0; i < places; i++, fraction /= 10)
            *--at = (char)('0' + fraction % 10);
        *--at = '.';
        return (real > 0 || cny_write_byte(to, '-')) && cny_write_unsigned(to, whole) &&
               cny_buffer_append(to, at, (size_t)(text + sizeof text - at));
    }
    *written = false;
    return true;
}

/* The fewest digits that `is_same` says are enough. */
static bool write_digits(cny_buffer *to, double real, int least, int most, bool (*is_same)(const char *, double))
{
    char text[40];
    for (int digits = least; digits <= most; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, real);
        cny_decimal_point(text);
        if (is_same(text, real))
            break;
    }
    return cny_buffer_append(to, text, strlen(text)) && (strpbrk(text, ".eE") || cny_buffer_append(to, ".0", 2));
}

static bool is_same_double(const char *text, double real)
{
    return cny_text_to_double(text) == real;
}

static bool is_same_float(const char *text, double real)
{
    return (float)cny_text_to_double(text) == (float)real;
}

bool cny_write_double(cny_buffer *to, double real)
{
    bool written;
    bool ok = write_short(to, real, &written);
    return written || !ok ? ok : write_digits(to, real, 15, 17, is_same_double);
}

bool cny_write_float(cny_buffer *to, float real)
{
    return write_digits(to, (double)real, 6, 9, is_same_float);
}

/* ---- bytes ---- */

bool cny_write_base64(cny_buffer *to, const void *bytes, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
    if (size > SIZE_MAX / 8 || !cny_buffer_reserve(to, (size + 2) / 3 * 4 + 2))
        return false;
    const uint8_t *from = bytes;
    cny_write_byte(to, '"');
    for (size_t at = 0; at < size; at += 3) {
        size_t left = size - at;
        uint32_t three =
            (uint32_t)from[at] << 16 | (left > 1 ? (uint32_t)from[at + 1] << 8 : 0) | (left > 2 ? from[at + 2] : 0);
        cny_write_byte(to, digits[three >> 18]);
        cny_write_byte(to, digits[three >> 12 & 63]);
        cny_write_byte(to, digits[left > 1 ? three >> 6 & 63 : 64]);
        cny_write_byte(to, digits[left > 2 ? three & 63 : 64]);
    }
    return cny_write_byte(to, '"');
}
