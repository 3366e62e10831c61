/* SPDX-License-Identifier: MIT */
/* Counts the ids in a ledger.
 *
 * Lines have a fixed width, so only whole ones are taken and the rest is left for next time. */
#include "tally.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ledger.h"

#define LINES_PER_READ 1024

bool tally_init(struct tally *tally, const char *directory, const char *name, int64_t last_id)
{
    *tally = (struct tally){.file = -1, .last_id = last_id};
    snprintf(tally->path, sizeof tally->path, "%s/%s.ledger", directory, name);
    tally->times = calloc((size_t)last_id + 1, 1);
    return tally->times != NULL;
}

void tally_free(struct tally *tally)
{
    if (!tally->times) /* never initialized */
        return;
    if (tally->file >= 0)
        close(tally->file);
    free(tally->times);
}

static void count(struct tally *tally, int64_t id)
{
    if (id < 1 || id > tally->last_id) {
        fprintf(stderr, "%s: order %lld was never sent\n", tally->path, (long long)id);
        return;
    }
    if (tally->times[id] == 0)
        tally->distinct++;
    else
        tally->duplicates++;
    if (tally->times[id] < UINT8_MAX)
        tally->times[id]++;
}

void tally_update(struct tally *tally)
{
    char lines[LINES_PER_READ * LEDGER_LINE];
    if (tally->file < 0)
        tally->file = open(tally->path, O_RDONLY | O_CLOEXEC);
    for (ssize_t size; (size = pread(tally->file, lines, sizeof lines, (off_t)tally->offset)) >= LEDGER_LINE;) {
        ssize_t whole = size - size % LEDGER_LINE;
        for (ssize_t at = 0; at < whole; at += LEDGER_LINE)
            count(tally, strtoll(lines + at, NULL, 10));
        tally->offset += whole;
    }
}

int64_t tally_missing(const struct tally *expected, const struct tally *actual)
{
    int64_t missing = 0;
    for (int64_t id = 1; id <= expected->last_id; id++)
        missing += expected->times[id] > 0 && actual->times[id] == 0;
    return missing;
}
