/* SPDX-License-Identifier: MIT */
/* Changes of a message before it is sent and after it was received. Private to the folder. */
#ifndef CNY_TEMPLATE_PROCESSORS_H
#define CNY_TEMPLATE_PROCESSORS_H

#include "rabbit/template/template.h"

coney_status cny_template_check_delay(int64_t delay_ms);

/* Replaces publish->message by the changed message, to which *prepared is then the reference. A part of prepare(). */
coney_status cny_template_process(coney_template *sender, cny_publish *publish, int64_t delay_ms,
                                  coney_message **prepared);

/* Every message that is received through the template passes here before its receiver has it. Rejects a message that
 * cannot be read. A processor may put another message in its place, or discard it: *message is NULL then. */
coney_status cny_template_process_received(coney_template *sender, coney_message **message);

#endif
