/* SPDX-License-Identifier: MIT */
/* Messages that left the store unsent. None of these is called under the template's lock. Private to the folder. */
#ifndef CNY_TEMPLATE_UNSENT_H
#define CNY_TEMPLATE_UNSENT_H

#include "rabbit/template/template.h"

/* Has the callbacks called of messages that have ended. */
void cny_template_tell_unsent(coney_template *sender);

/* Ends what is stored for too long; returns when the next message will be. */
int64_t cny_template_expire_stored(coney_template *sender, int64_t now);

/* Nothing is stored, and all callbacks have returned; false if that is not so at the deadline. */
bool cny_template_wait_store_finished(coney_template *sender, int64_t deadline);

#endif
