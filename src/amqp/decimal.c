/* SPDX-License-Identifier: MIT */
/* Decimals as text. Pure functions; any thread. */
#include "amqp/decimal.h"

#include <stdio.h>
#include <string.h>

void cny_decimal_write(char text[CNY_DECIMAL_ROOM], const coney_value *value)
{
    int64_t mantissa = value->as.decimal.mantissa;
    size_t scale = value->as.decimal.scale;
    char digits[CNY_DECIMAL_ROOM - 4];
    int size =
        snprintf(digits, sizeof digits, "%0*lld", (int)scale + 1, (long long)(mantissa < 0 ? -mantissa : mantissa));
    size_t whole = (size_t)size - scale;
    snprintf(text, CNY_DECIMAL_ROOM, "%s%.*s%s%s", mantissa < 0 ? "-" : "", (int)whole, digits, scale > 0 ? "." : "",
             digits + whole);
}

bool cny_decimal_read(coney_value *value, const char *text)
{
    bool is_negative = *text == '-';
    const char *digits = text + is_negative;
    size_t whole = strspn(digits, "0123456789");
    const char *fraction = digits[whole] == '.' ? digits + whole + 1 : "";
    size_t scale = strspn(fraction, "0123456789");
    bool is_number = whole > 0 && (*fraction ? scale > 0 && !fraction[scale] : !digits[whole]);
    if (!is_number || scale > UINT8_MAX)
        return false;
    int64_t mantissa = 0;
    for (const char *at = digits; *at && mantissa <= -(int64_t)INT32_MIN; at++)
        mantissa = *at == '.' ? mantissa : mantissa * 10 + (*at - '0');
    if (mantissa > (is_negative ? -(int64_t)INT32_MIN : INT32_MAX))
        return false;
    *value = (coney_value){.type = CONEY_DECIMAL};
    value->as.decimal.mantissa = (int32_t)(is_negative ? -mantissa : mantissa);
    value->as.decimal.scale = (uint8_t)scale;
    return true;
}
