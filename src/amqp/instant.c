/* SPDX-License-Identifier: MIT */
/* Points in time as text and as numbers. The C library's functions depend on locale and zone, so the calendar is here:
 * days are counted from 0000-03-01, so that a leap day is the last of its year. Any thread. */
#include "amqp/instant.h"

#include "amqp/numbers.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DAYS_TO_1970 719468 /* from 0000-03-01 */
#define DAYS_OF_400_YEARS 146097

/* ---- calendar ---- */

static int64_t days_of(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400, year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * DAYS_OF_400_YEARS + day_of_era - DAYS_TO_1970;
}

static void date_of(int64_t days, int64_t *year, int *month, int *day)
{
    days += DAYS_TO_1970;
    int64_t era = (days >= 0 ? days : days - (DAYS_OF_400_YEARS - 1)) / DAYS_OF_400_YEARS;
    int64_t day_of_era = days - era * DAYS_OF_400_YEARS;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / (DAYS_OF_400_YEARS - 1)) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int shifted = (int)((5 * day_of_year + 2) / 153);
    *day = (int)(day_of_year - (153 * shifted + 2) / 5 + 1);
    *month = shifted < 10 ? shifted + 3 : shifted - 9;
    *year = year_of_era + era * 400 + (*month <= 2);
}

static int days_of_month(int64_t year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && is_leap);
}

/* ---- text ---- */

typedef struct cursor {
    const char *at;
    const char *end;
} cursor;

static bool take(cursor *from, const char *any)
{
    bool found = from->at < from->end && *from->at != '\0' && strchr(any, *from->at);
    from->at += found;
    return found;
}

/* Exactly so many digits. */
static bool take_number(cursor *from, int digits, int *number)
{
    *number = 0;
    for (int i = 0; i < digits; i++, from->at++) {
        if (from->at == from->end || *from->at < '0' || *from->at > '9')
            return false;
        *number = *number * 10 + (*from->at - '0');
    }
    return true;
}

/* The digits after a point; those after the ninth are dropped. */
static bool take_fraction(cursor *from, int32_t *nanos)
{
    int digits = 0;
    *nanos = 0;
    for (; from->at < from->end && *from->at >= '0' && *from->at <= '9'; from->at++, digits++)
        *nanos = digits < 9 ? *nanos * 10 + (*from->at - '0') : *nanos;
    for (int i = digits; i < 9; i++)
        *nanos *= 10;
    return digits > 0;
}

static bool take_zone(cursor *from, int *seconds)
{
    int hours, minutes = 0;
    *seconds = 0;
    if (take(from, "Zz"))
        return true;
    bool is_west = from->at < from->end && *from->at == '-';
    if (!take(from, "+-") || !take_number(from, 2, &hours))
        return false;
    bool has_minutes = take(from, ":") || (from->at < from->end && *from->at != '[');
    if (has_minutes && !take_number(from, 2, &minutes))
        return false;
    *seconds = (hours * 60 + minutes) * 60 * (is_west ? -1 : 1);
    return hours <= 18 && minutes < 60;
}

/* The name of a zone, which says nothing that its offset does not. */
static void skip_zone_name(cursor *from)
{
    if (from->at < from->end && *from->at == '[' && from->end[-1] == ']')
        from->at = from->end;
}

static bool take_date(cursor *from, int *year, int *month, int *day)
{
    return take_number(from, 4, year) && take(from, "-") && take_number(from, 2, month) && take(from, "-") &&
           take_number(from, 2, day);
}

const char *cny_instant_read(cny_instant *instant, const char *text, size_t size)
{
    static const char *const form = "a time such as \"2026-12-01T03:04:05Z\"";
    cursor from = {text, text + size};
    int year, month, day, hour, minute, second = 0, zone;
    int32_t nanos = 0;
    if (!take_date(&from, &year, &month, &day) || !take(&from, "Tt ") || !take_number(&from, 2, &hour) ||
        !take(&from, ":") || !take_number(&from, 2, &minute))
        return form;
    bool has_seconds = take(&from, ":");
    if (has_seconds && (!take_number(&from, 2, &second) || (take(&from, ".,") && !take_fraction(&from, &nanos))))
        return form;
    if (from.at == from.end)
        return "a time with a zone, such as Z or +01:00, at its end";
    if (!take_zone(&from, &zone))
        return form;
    skip_zone_name(&from);
    if (from.at != from.end)
        return form;
    if (month < 1 || month > 12 || day < 1 || day > days_of_month(year, month) || hour > 23 || minute > 59 ||
        second > 60) /* 60: a leap second */
        return "a time that exists";
    instant->seconds = days_of(year, month, day) * 86400 + (int64_t)hour * 3600 + (int64_t)minute * 60 + second - zone;
    instant->nanos = nanos;
    return NULL;
}

/* Writes exactly so many digits. Returns the place after them. */
static char *put_number(char *to, int digits, int number)
{
    for (int i = digits; i-- > 0; number /= 10)
        to[i] = (char)('0' + number % 10);
    return to + digits;
}

/* Writes the number after a byte that separates it. */
static char *put_after(char *to, char separator, int digits, int number)
{
    *to = separator;
    return put_number(to + 1, digits, number);
}

/* The fraction has as many digits as keep its value. */
static char *put_fraction(char *to, int32_t nanos)
{
    if (nanos == 0)
        return to;
    return nanos % 1000000 == 0 ? put_after(to, '.', 3, nanos / 1000000)
           : nanos % 1000 == 0  ? put_after(to, '.', 6, nanos / 1000)
                                : put_after(to, '.', 9, nanos);
}

bool cny_instant_write(char *text, const cny_instant *instant)
{
    int64_t days = instant->seconds / 86400, of_day = instant->seconds % 86400, year;
    int month, day;
    if (of_day < 0) {
        of_day += 86400;
        days--;
    }
    if (days < -DAYS_TO_1970 - 60 || days > 2932896) /* before year 0, after 9999 */
        return false;
    date_of(days, &year, &month, &day);
    text = put_number(text, 4, (int)year);
    text = put_after(text, '-', 2, month);
    text = put_after(text, '-', 2, day);
    text = put_after(text, 'T', 2, (int)(of_day / 3600));
    text = put_after(text, ':', 2, (int)(of_day / 60 % 60));
    text = put_after(text, ':', 2, (int)(of_day % 60));
    text = put_fraction(text, instant->nanos);
    memcpy(text, "Z", 2);
    return true;
}

/* ---- numbers ---- */

bool cny_instant_from_number(cny_instant *instant, const char *text, size_t size, bool is_milliseconds)
{
    const char *point = memchr(text, '.', size);
    size_t whole = point ? (size_t)(point - text) : size;
    cursor from = {text + whole + (point != NULL), text + size};
    bool is_negative = *text == '-';
    int64_t units, per_second = is_milliseconds ? 1000 : 1;
    int32_t fraction = 0; /* of a unit, in units / 10^9 */
    if (!cny_number_to_int64(text, whole, &units) || (point && !take_fraction(&from, &fraction)) || from.at != from.end)
        return false;
    instant->seconds = units / per_second;
    int64_t nanos = units % per_second * (1000000000 / per_second);
    nanos += (is_negative ? -1 : 1) * (int64_t)fraction / per_second;
    if (nanos < 0) {
        if (instant->seconds == INT64_MIN)
            return false;
        instant->seconds--;
        nanos += 1000000000;
    }
    instant->nanos = (int32_t)nanos;
    return true;
}

/* Milliseconds drop what is below them. Java writes Instants with nine digits, and reads any number of digits. */
bool cny_instant_to_number(char *text, const cny_instant *instant, bool is_milliseconds)
{
    int64_t seconds = instant->seconds;
    int32_t nanos = instant->nanos;
    if (is_milliseconds) {
        int64_t milliseconds;
        if (__builtin_mul_overflow(seconds, 1000, &milliseconds) ||
            __builtin_add_overflow(milliseconds, nanos / 1000000, &milliseconds))
            return false;
        snprintf(text, CNY_INSTANT_ROOM, "%" PRId64, milliseconds);
        return true;
    }
    bool is_negative = seconds < 0 && nanos > 0; /* -1 s and 0.25 s are -0.75 s */
    if (is_negative) {
        seconds++;
        nanos = 1000000000 - nanos;
    }
    snprintf(text, CNY_INSTANT_ROOM, "%s%" PRId64, is_negative && seconds == 0 ? "-" : "", seconds);
    *put_fraction(text + strlen(text), nanos) = '\0';
    return true;
}
