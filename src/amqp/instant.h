/* SPDX-License-Identifier: MIT */
/* Points in time, as JSON has them. Private to the folder. */
#ifndef CNY_AMQP_INSTANT_H
#define CNY_AMQP_INSTANT_H

#include "base/base.h"

typedef struct cny_instant {
    int64_t seconds; /* since 1970; negative before */
    int32_t nanos;   /* 0 to 999,999,999, after `seconds` */
} cny_instant;

enum { CNY_INSTANT_ROOM = 48 }; /* for the texts below, with their NUL */

/* Reads ISO 8601: date, time, zone, as in "2026-12-01T03:04:05.678+01:00". The seconds and their fraction may be
 * missing, 'T' may be a space, and the name of the zone may follow in brackets, as Java writes it. Returns NULL, or
 * what is wrong. */
const char *cny_instant_read(cny_instant *instant, const char *text, size_t size);

/* Writes ISO 8601 in UTC, for the years 0 to 9999; false for others. The fraction has 0, 3, 6 or 9 digits, as few as
 * keep its value. */
bool cny_instant_write(char *text, const cny_instant *instant);

/* The same as a number of seconds or milliseconds. The number may have a fraction, but no exponent; digits after the
 * ninth of a second are dropped. False: there is an exponent, or the number is too large. */
bool cny_instant_from_number(cny_instant *instant, const char *text, size_t size, bool is_milliseconds);
bool cny_instant_to_number(char *text, const cny_instant *instant, bool is_milliseconds);

#endif
