/* SPDX-License-Identifier: MIT */
/* Numbers from text, in the same way in all locales. Private to the folder. */
#ifndef CNY_AMQP_NUMBERS_H
#define CNY_AMQP_NUMBERS_H

#include "base/base.h"

/* The most characters of a number, as in Jackson. */
enum { CNY_MAX_NUMBER = 1000 };

/* Read a JSON number of at most CNY_MAX_NUMBER characters, which need not end with a NUL. False: the digits are no
 * integer, or the integer does not fit. */
bool cny_number_to_int64(const char *text, size_t size, int64_t *integer);
bool cny_number_to_uint64(const char *text, size_t size, uint64_t *integer);

/* The nearest double; infinite if there is none. */
double cny_number_to_double(const char *text, size_t size);
double cny_text_to_double(const char *text); /* the same, with a NUL at the end */

/* The value of a hexadecimal digit; below 0: it is none. */
int cny_hex_digit(char digit);

/* Replaces the locale's decimal point, which printf() has written, by '.'. */
void cny_decimal_point(char *text);

#endif
