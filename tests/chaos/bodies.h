/* SPDX-License-Identifier: MIT */
/* Messages: a body is its id and letters that follow from it, so a handler can tell whether it is whole. Some fill
 * several frames. */
#ifndef CHAOS_BODIES_H
#define CHAOS_BODIES_H

#include <coney/coney.h>
#include <stdint.h>

enum { KEYS = 16 };
#define KEY_HEADER "key" /* id % KEYS */

coney_message *make_message(int64_t id);            /* one reference; aborts without memory */
int64_t read_message(const coney_message *message); /* 0: it is not what make_message() made */

#endif
