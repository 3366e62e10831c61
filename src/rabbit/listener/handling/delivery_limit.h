/* SPDX-License-Identifier: MIT */
/* The delivery limit of a quorum queue. */
#ifndef CNY_HANDLING_DELIVERY_LIMIT_H
#define CNY_HANDLING_DELIVERY_LIMIT_H

#include "rabbit/listener/handling/handling.h"

/* Logs a message that came by dead-lettering if its count is near the delivery limit. Not under a lock. */
void cny_warn_of_delivery_limit(cny_handling *handling, const coney_message *message);

#endif
