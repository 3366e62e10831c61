/* SPDX-License-Identifier: MIT */
/* Messages that end in the store unsent. None of the functions is called under the template's lock. Private to the
 * folder. */
#ifndef CNY_TEMPLATE_UNSENT_H
#define CNY_TEMPLATE_UNSENT_H

#include "rabbit/template/template.h"

/* Has the callbacks of ended messages called. */
void cny_template_tell_unsent(coney_template *sender);

/* Ends messages that have been stored for too long. Returns the time at which the next message will be too old. */
int64_t cny_template_expire_stored(coney_template *sender, int64_t now);

/* Waits until nothing is stored and all callbacks of ended messages have returned. False at the deadline. */
bool cny_template_wait_store_finished(coney_template *sender, int64_t deadline);

#endif
