/* SPDX-License-Identifier: MIT */
/* Checks and changes of a message before it is sent and after it was received, and attempts to send it. Private to the
 * folder. */
#ifndef CNY_TEMPLATE_SEND_H
#define CNY_TEMPLATE_SEND_H

#include "rabbit/template/template.h"

/* ---- send.c ---- */

coney_status cny_template_check_send(const coney_template *sender, const coney_send_options *options);

/* The steps that all sends share: checks options and message, fills in the template's options, and changes the
 * message. *publish has views of the arguments. If a changed message is to be sent, *prepared, which must be NULL
 * before, becomes a reference to it, which the caller drops, after a failure, too. */
coney_status cny_template_prepare(coney_template *sender, const char *routing_key, coney_message *message,
                                  const coney_send_options *options, cny_publish *publish, coney_message **prepared);

/* Puts the address of the message in front of the last error, and returns the status of that. */
coney_status cny_template_fail_send(const cny_publish *publish);

/* ---- processors.c ---- */

coney_status cny_template_check_delay(int64_t delay_ms);

/* Replaces publish->message by the changed message, to which *prepared is then the reference. A part of prepare(). */
coney_status cny_template_process(coney_template *sender, cny_publish *publish, int64_t delay_ms,
                                  coney_message **prepared);

/* Every message that is received through the template passes here before its receiver has it. Rejects a message that
 * cannot be read. A processor may put another message in its place, or discard it: *message is NULL then. */
coney_status cny_template_process_received(coney_template *sender, coney_message **message);

/* ---- retry.c ---- */

/* Makes attempts as the template's options say, until the deadline, and calls on_failure if all of them failed. */
typedef coney_status cny_attempt(coney_template *sender, const cny_publish *publish, int64_t deadline);
coney_status cny_template_retry(coney_template *sender, const cny_publish *publish, cny_attempt *attempt,
                                int64_t deadline);

#endif
