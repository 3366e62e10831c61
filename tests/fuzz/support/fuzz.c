/* SPDX-License-Identifier: MIT */
/* The entry that libFuzzer knows: hands the input to the target, the second time with memory that runs out. The number
 * of allocations that succeed then comes from the input, so that the same input always does the same. */
#include "support/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_ALLOCATIONS = 48 };

static bool is_memory_short;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    coney_log_set_level(CONEY_LOG_OFF);
    is_memory_short = false;
    fuzz_target(data, size);
    is_memory_short = true;
    cny_alloc_fail_after((int)(cny_hash(data, size) % MOST_ALLOCATIONS));
    fuzz_target(data, size);
    cny_alloc_fail_after(-1);
    return 0;
}

/* ---- what must hold ---- */

void fuzz_fail(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: this does not hold: %s%s (last error: %s)\n", file, line, condition,
            is_memory_short ? ", while memory runs out" : "", coney_last_error());
    abort();
}

bool fuzz_check_status(coney_status status, const char *call, const char *file, int line)
{
    if (status != CONEY_OK && (!is_memory_short || status != CONEY_E_NO_MEMORY))
        fuzz_fail(call, file, line);
    return status == CONEY_OK;
}

bool fuzz_memory_is_short(void)
{
    return is_memory_short;
}

/* ---- input ---- */

uint8_t fuzz_take(const uint8_t **data, size_t *size)
{
    if (*size == 0)
        return 0;
    --*size;
    return *(*data)++;
}

char *fuzz_text(const uint8_t *data, size_t size)
{
    char *text = calloc(1, size + 1);
    if (!text)
        abort();
    if (data && size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    return text;
}
