/* SPDX-License-Identifier: MIT */
/* What became of each message, by its id from 1 on. There is one account; any thread may write. */
#ifndef CHAOS_ACCOUNT_H
#define CHAOS_ACCOUNT_H

#include "base/base.h"

#include <coney/coney.h>
#include <stdbool.h>
#include <stdint.h>

/* Queues where messages are published, and where others of them end up. */
enum { CLASSIC, QUORUM, LANES, PUBLISHED, DEAD = PUBLISHED, PARKING, QUEUES };

/* Memory for so many ids, and a thread that watches how long nothing is handled. */
bool account_open(int64_t last_id);
void account_close(void);

int64_t account_publish(void); /* the next id; 0: there are no more */
void account_complete(int64_t id, coney_status status);
void account_refuse(int64_t id, coney_status status); /* failed, and the broker must never have seen it */

void account_try(int64_t id); /* a handler has it */
void account_handle(int64_t id, int queue);
void account_corrupt(void);              /* a message that nobody sent in that form */
void account_surprise(const char *what); /* anything else that must not be, which is said at once */

/* So far. Waiting are those that are confirmed and not handled; calls is also moved by duplicates. */
int64_t account_waiting(void);
int64_t account_handler_calls(int queue);

/* At the end, when everybody is still: how much was lost, and whether anything happened that must
 * not; both say so, the account on stdout and the impossible on stderr. */
int64_t account_print(void);
bool account_possible(void);
void account_print_last_line(void);

void sleep_ms(int ms);

#endif
