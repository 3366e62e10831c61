/* SPDX-License-Identifier: MIT */
/* The steps that the ways to send share, and attempts to send. Private to the folder. */
#ifndef CNY_TEMPLATE_SEND_H
#define CNY_TEMPLATE_SEND_H

#include "rabbit/template/template.h"

/* ---- send.c ---- */

coney_status cny_template_check_send(const coney_template *sender, const coney_send_options *options);

/* The first step of all sends, those of scopes included: checks options and message, fills in the template's options,
 * and changes the message. *publish borrows from the arguments. *prepared must be NULL before; it becomes a reference
 * to the changed message, if there is one. The caller drops that reference, after a failure, too. */
coney_status cny_template_prepare(coney_template *sender, const char *routing_key, coney_message *message,
                                  const coney_send_options *options, cny_publish *publish, coney_message **prepared);

/* Puts the address of the message in front of the last error, and returns the status of the last error. */
coney_status cny_template_fail_send(const cny_publish *publish);

/* ---- retry.c ---- */

/* Makes attempts as the template's options say, until the deadline, and calls on_failure if all of them failed. */
typedef coney_status cny_attempt(coney_template *sender, const cny_publish *publish, int64_t deadline);
coney_status cny_template_retry(coney_template *sender, const cny_publish *publish, cny_attempt *attempt,
                                int64_t deadline);

#endif
