/* SPDX-License-Identifier: MIT */
/* Reads base64. Pure functions; any thread. */
#include "amqp/base64.h"

static int base64_digit(char digit)
{
    if (digit >= 'A' && digit <= 'Z')
        return digit - 'A';
    if (digit >= 'a' && digit <= 'z')
        return digit - 'a' + 26;
    if (digit >= '0' && digit <= '9')
        return digit - '0' + 52;
    return digit == '+' ? 62 : digit == '/' ? 63 : -1;
}

size_t cny_base64_read(uint8_t *to, const char *text, size_t text_size)
{
    size_t digits = text_size, size = 0;
    while (digits > 0 && text_size - digits < 2 && text[digits - 1] == '=')
        digits--;
    if ((digits != text_size && text_size % 4 != 0) || digits % 4 == 1)
        return SIZE_MAX;
    uint32_t bits = 0;
    for (size_t i = 0; i < digits; i++) {
        int digit = base64_digit(text[i]);
        if (digit < 0)
            return SIZE_MAX;
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4 == 3)
            to[size++] = (uint8_t)(bits >> 16);
        if (i % 4 == 3)
            to[size++] = (uint8_t)(bits >> 8);
        if (i % 4 == 3)
            to[size++] = (uint8_t)bits;
    }
    if (digits % 4 == 2)
        to[size++] = (uint8_t)(bits >> 4);
    if (digits % 4 == 3) {
        to[size++] = (uint8_t)(bits >> 10);
        to[size++] = (uint8_t)(bits >> 2);
    }
    return size;
}
