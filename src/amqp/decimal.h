/* SPDX-License-Identifier: MIT */
/* Decimals as text, as in "-12.50". Private to the folder. */
#ifndef CNY_AMQP_DECIMAL_H
#define CNY_AMQP_DECIMAL_H

#include "amqp/amqp.h"

enum { CNY_DECIMAL_ROOM = 272 }; /* for the text of any decimal, with its NUL */

/* Writes all digits after the point, zeros included. The value is a CONEY_DECIMAL. */
void cny_decimal_write(char text[CNY_DECIMAL_ROOM], const coney_value *value);

/* Reads such a text. False: the text is no decimal, or the number does not fit. */
bool cny_decimal_read(coney_value *value, const char *text);

#endif
