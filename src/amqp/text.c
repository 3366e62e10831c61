/* SPDX-License-Identifier: MIT */
/* Checks of texts that go to the broker. Any thread. */
#include "amqp/amqp.h"

#include <endian.h>
#include <string.h>

/* The number of ASCII characters that the text begins with. Counts eight at a time, because nearly all names are
 * ASCII, and each send checks some. */
static size_t ascii_length(const char *text, size_t size)
{
    size_t at = 0;
    for (uint64_t eight; at + sizeof eight <= size; at += sizeof eight) {
        memcpy(&eight, text + at, sizeof eight);
        if (eight & UINT64_C(0x8080808080808080))
            break;
    }
    while (at < size && (unsigned char)text[at] < 0x80)
        at++;
    return at;
}

/* Sets the highest bit of the first byte in memory that is below `least`, if there is such a byte, and maybe of bytes
 * after that byte, because a difference that is negative borrows from the next byte. `least` and `byte` are ASCII. */
static uint64_t find_below(uint64_t eight, uint64_t least)
{
    return (eight - least * UINT64_C(0x0101010101010101)) & ~eight & UINT64_C(0x8080808080808080);
}

static uint64_t find_byte(uint64_t eight, uint64_t byte)
{
    return find_below(eight ^ byte * UINT64_C(0x0101010101010101), 1);
}

size_t cny_plain_length(const char *text, size_t size)
{
    size_t at = 0;
    for (uint64_t eight; at + sizeof eight <= size; at += sizeof eight) {
        memcpy(&eight, text + at, sizeof eight);
        eight = le64toh(eight);
        uint64_t found = find_below(eight, 0x20) | find_byte(eight, '"') | find_byte(eight, '\\');
        if (found)
            return at + (size_t)__builtin_ctzll(found) / 8;
    }
    while (at < size && (unsigned char)text[at] >= 0x20 && text[at] != '"' && text[at] != '\\')
        at++;
    return at;
}

ptrdiff_t cny_utf8_error(const char *text, size_t size)
{
    for (size_t at = ascii_length(text, size); at < size; at += ascii_length(text + at, size - at)) {
        uint32_t character;
        size_t length = cny_utf8_next(text + at, size - at, &character);
        if (length == 0)
            return (ptrdiff_t)at;
        at += length;
    }
    return -1;
}

coney_status cny_check_short(const char *what, const char *text)
{
    size_t size = text ? strlen(text) : 0;
    if (size > CNY_MAX_SHORT_STRING)
        return cny_fail(CONEY_E_INVALID, "%s '%.40s...' has %zu bytes; AMQP allows 255", what, text, size);
    return CONEY_OK;
}

coney_status cny_check_name(const char *what, const char *text)
{
    coney_status status = cny_check_short(what, text);
    ptrdiff_t wrong = status == CONEY_OK && text ? cny_utf8_error(text, strlen(text)) : -1;
    return wrong >= 0 ? cny_fail(CONEY_E_INVALID, "%s is not UTF-8 at byte %td", what, wrong) : status;
}
