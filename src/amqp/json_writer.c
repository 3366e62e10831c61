/* SPDX-License-Identifier: MIT */
/* Writes the values of JSON: texts with their escapes, numbers in the same way in all locales, bytes as base64. Each
 * function reserves all its room at once. Any thread. */
#include "amqp/json_writer.h"

#include "amqp/numbers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

bool cny_write_raw(cny_buffer *to, const char *text, size_t size)
{
    return cny_buffer_append(to, text, size);
}

/* ---- strings ---- */

static bool must_be_escaped(char byte)
{
    return (unsigned char)byte < 0x20 || byte == '"' || byte == '\\';
}

static uint8_t *put_escaped(uint8_t *to, char byte)
{
    static const char hex[] = "0123456789abcdef", escapes[] = "bfnrt", characters[] = "\b\f\n\r\t";
    const char *found = byte ? strchr(characters, byte) : NULL;
    *to++ = '\\';
    if (!found && (unsigned char)byte >= 0x20) {
        *to++ = (uint8_t)byte;
    } else if (found) {
        *to++ = (uint8_t)escapes[found - characters];
    } else {
        memcpy(to, "u00", 3);
        to[3] = (uint8_t)hex[byte >> 4 & 1];
        to[4] = (uint8_t)hex[byte & 15];
        to += 5;
    }
    return to;
}

bool cny_write_string(cny_buffer *to, const char *text, size_t size)
{
    if (size > SIZE_MAX / 8 || !cny_buffer_reserve(to, 6 * size + 2)) /* "\u00" and two digits for each byte */
        return false;
    uint8_t *out = to->data + to->size;
    *out++ = '"';
    for (const char *at = text, *end = text + size; at < end;) {
        const char *plain = at;
        while (at < end && !must_be_escaped(*at))
            at++;
        memcpy(out, plain, (size_t)(at - plain));
        out += at - plain;
        if (at < end)
            out = put_escaped(out, *at++);
    }
    *out++ = '"';
    to->size = (size_t)(out - to->data);
    return true;
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

bool cny_write_integer(cny_buffer *to, int64_t integer)
{
    if (integer >= 0)
        return cny_write_unsigned(to, (uint64_t)integer);
    return cny_buffer_reserve(to, 21) && cny_write_byte(to, '-') && cny_write_unsigned(to, -(uint64_t)integer);
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
    if (!strpbrk(text, ".eE"))
        strcat(text, ".0");
    return cny_buffer_append(to, text, strlen(text));
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
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
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
        cny_write_byte(to, left > 1 ? digits[three >> 6 & 63] : '=');
        cny_write_byte(to, left > 2 ? digits[three & 63] : '=');
    }
    return cny_write_byte(to, '"');
}
