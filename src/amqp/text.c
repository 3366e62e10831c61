/* SPDX-License-Identifier: MIT */
/* Checks of texts that go to the broker. */
#include "amqp/amqp.h"

#include <string.h>

/* Length of the well-formed sequence at the start of text, 0 if there is none. */
static size_t sequence_length(const unsigned char *text, size_t size)
{
    static const struct {
        unsigned char mask, lead;
        size_t length;
        uint32_t lowest; /* shorter forms of a character are not allowed */
    } forms[] = {{0x80, 0x00, 1, 0}, {0xe0, 0xc0, 2, 0x80}, {0xf0, 0xe0, 3, 0x800}, {0xf8, 0xf0, 4, 0x10000}};

    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if ((text[0] & forms[i].mask) != forms[i].lead)
            continue;
        if (forms[i].length > size)
            return 0;
        uint32_t character = text[0] & (unsigned char)~forms[i].mask;
        for (size_t n = 1; n < forms[i].length; n++) {
            if ((text[n] & 0xc0) != 0x80)
                return 0;
            character = character << 6 | (text[n] & 0x3fU);
        }
        bool surrogate = character >= 0xd800 && character <= 0xdfff;
        return character >= forms[i].lowest && character <= 0x10ffff && !surrogate ? forms[i].length : 0;
    }
    return 0;
}

/* How many characters of ASCII the text begins with, eight at a time: nearly all names are nothing else, and
 * every send checks some. */
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

ptrdiff_t cny_utf8_error(const char *text, size_t size)
{
    for (size_t at = ascii_length(text, size); at < size; at += ascii_length(text + at, size - at)) {
        size_t length = sequence_length((const unsigned char *)text + at, size - at);
        if (length == 0)
            return (ptrdiff_t)at;
        at += length;
    }
    return -1;
}

coney_status cny_check_name(const char *what, const char *text)
{
    if (!text)
        return CONEY_OK;
    size_t size = strlen(text);
    if (size > CNY_MAX_SHORT_STRING)
        return cny_fail(CONEY_E_INVALID, "%s '%.40s...' has %zu bytes; AMQP allows 255", what, text, size);
    ptrdiff_t wrong = cny_utf8_error(text, size);
    if (wrong >= 0)
        return cny_fail(CONEY_E_INVALID, "%s is not UTF-8 at byte %td", what, wrong);
    return CONEY_OK;
}
