/* SPDX-License-Identifier: MIT */
/* A ledger: a file of order ids, one fixed-width line each, that only ever grows. */
#ifndef SHOP_LEDGER_H
#define SHOP_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#define LEDGER_LINE 16 /* bytes: 15 digits and the line end */

/* Opens <name>.ledger in SHOP_DIR (or here) for appending. Its descriptor, or -1 with errno. */
int ledger_open(const char *name);

/* Appends one id. On true it is in the file, even if the process is killed right now. Any thread. */
bool ledger_append(int ledger, int64_t id);

#endif
