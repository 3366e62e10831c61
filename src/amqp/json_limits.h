/* SPDX-License-Identifier: MIT */
/* How much a JSON document may hold. Private to this folder; knows nothing of jansson. */
#ifndef CNY_AMQP_JSON_LIMITS_H
#define CNY_AMQP_JSON_LIMITS_H

#include "base/base.h"

#include <coney/amqp/json.h>

/* Counts values and levels of the text in one pass, so that a document beyond a limit is refused before memory or stack
 * is spent on it. Texts that are no JSON are the reader's to refuse. Limits may be NULL: those of the process.
 * CONEY_E_CONVERSION, CONEY_E_INVALID (the limits). */
coney_status cny_json_check_limits(const char *text, size_t size, const coney_json_limits *limits);

#endif
