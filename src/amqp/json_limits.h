/* SPDX-License-Identifier: MIT */
/* Limits of JSON documents. Private to the folder. Knows nothing of jansson. */
#ifndef CNY_AMQP_JSON_LIMITS_H
#define CNY_AMQP_JSON_LIMITS_H

#include "base/base.h"

#include <coney/amqp/json.h>

/* Counts the values and levels of the text in one pass, so that a document beyond a limit is refused before it takes
 * memory or stack. Texts that are not JSON are left to the parser. `limits` NULL: those of the process.
 * CONEY_E_CONVERSION, CONEY_E_INVALID (the limits). */
coney_status cny_json_check_limits(const char *text, size_t size, const coney_json_limits *limits);

/* The limits of the process. */
coney_json_limits cny_json_limits(void);

#endif
