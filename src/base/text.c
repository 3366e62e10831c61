/* SPDX-License-Identifier: MIT */
/* UTF-8, and texts from outside made safe for log lines and errors. Any thread. */
#include "base/base.h"

#include <string.h>

size_t cny_utf8_next(const char *text, size_t size, uint32_t *character)
{
    static const struct {
        unsigned char mask, lead;
        size_t length;
        uint32_t lowest; /* a smaller number has a shorter form, and only the shortest form is allowed */
    } forms[] = {{0x80, 0x00, 1, 0}, {0xe0, 0xc0, 2, 0x80}, {0xf0, 0xe0, 3, 0x800}, {0xf8, 0xf0, 4, 0x10000}};

    const unsigned char *at = (const unsigned char *)text;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if ((at[0] & forms[i].mask) != forms[i].lead)
            continue;
        if (forms[i].length > size)
            return 0;
        *character = at[0] & (unsigned char)~forms[i].mask;
        for (size_t n = 1; n < forms[i].length; n++) {
            if ((at[n] & 0xc0) != 0x80)
                return 0;
            *character = *character << 6 | (at[n] & 0x3fU);
        }
        bool surrogate = *character >= 0xd800 && *character <= 0xdfff;
        return *character >= forms[i].lowest && *character <= 0x10ffff && !surrogate ? forms[i].length : 0;
    }
    return 0;
}

/* Control characters (C0, DEL, C1) end lines and control terminals, U+2028 and U+2029 end lines in many viewers, and
 * the others change the reading order. */
static bool may_be_shown(uint32_t character)
{
    bool is_control = character < ' ' || (character >= 0x7f && character < 0xa0);
    bool is_direction = character == 0x061c || character == 0x200e || character == 0x200f ||
                        (character >= 0x202a && character <= 0x202e) || (character >= 0x2066 && character <= 0x2069);
    return !is_control && !is_direction && character != 0x2028 && character != 0x2029;
}

bool cny_text_step(const char *text, size_t size, size_t *length)
{
    uint32_t character;
    *length = cny_utf8_next(text, size, &character);
    if (*length > 0)
        return may_be_shown(character);
    *length = 1;
    return false;
}

void cny_text_make_safe(char *text)
{
    char *to = text;
    size_t length;
    for (const char *at = text, *end = text + strlen(text); at < end; at += length) {
        if (cny_text_step(at, (size_t)(end - at), &length)) {
            memmove(to, at, length);
            to += length;
        } else {
            *to++ = '?';
        }
    }
    *to = '\0';
}
