/* SPDX-License-Identifier: MIT */
/* Reads a ledger while it grows, and counts how often each order id is in it. */
#ifndef SHOP_DEMO_TALLY_H
#define SHOP_DEMO_TALLY_H

#include <stdbool.h>
#include <stdint.h>

struct tally {
    char path[512];
    int file;       /* -1: not there yet */
    int64_t offset; /* read so far */
    int64_t last_id;
    uint8_t *times;     /* by order id; stays at 255 */
    int64_t distinct;   /* ids that are in the ledger */
    int64_t duplicates; /* lines beyond the first for an id */
};

/* Ids run from 1 to last_id. False without memory. */
bool tally_init(struct tally *tally, const char *directory, const char *name, int64_t last_id);
void tally_free(struct tally *tally);

/* Counts what was appended since the last call. */
void tally_update(struct tally *tally);

/* How many ids of one ledger the other does not have. */
int64_t tally_missing(const struct tally *expected, const struct tally *actual);

#endif
