/* SPDX-License-Identifier: MIT */
/* What the fuzz targets share. A target is a program of one file, which defines fuzz_target(). libFuzzer calls it with
 * inputs of its own invention, the unit tests with the seeds. */
#ifndef CNY_FUZZ_H
#define CNY_FUZZ_H

#include "amqp/amqp.h"

/* Handles one input; must have freed everything when it returns. Each input comes twice, and the second time memory
 * runs out after some allocations: every call may then fail with CONEY_E_NO_MEMORY. */
void fuzz_target(const uint8_t *data, size_t size);

/* What must hold, whatever the input says. */
#define fuzz_require(condition) ((condition) ? (void)0 : fuzz_fail(#condition, __FILE__, __LINE__))
_Noreturn void fuzz_fail(const char *condition, const char *file, int line);

/* The same for a call that must succeed unless memory runs out. False if it did. */
#define fuzz_succeeds(call) fuzz_check_status((call), #call, __FILE__, __LINE__)
bool fuzz_check_status(coney_status status, const char *call, const char *file, int line);

/* For a target whose model does not know of memory that runs out. */
bool fuzz_memory_is_short(void);

/* Takes a number from the front of the input, for a choice of the target; 0 when nothing is left. */
uint8_t fuzz_take(const uint8_t **data, size_t *size);

/* A copy with a NUL after it, so that reading past the end is noticed; to be freed. data NULL: an empty one. */
char *fuzz_text(const uint8_t *data, size_t size);

/* ---- messages ---- */

/* Reads everything of the message as a program can. */
void fuzz_read_message(const coney_message *message);

/* Writes the table as JSON, and reads and writes that: it must be the same. A name that is not UTF-8 may be refused. */
void fuzz_table_as_json(const coney_table *table);

/* Do both have the same properties and headers, as far as they are sent? */
bool fuzz_same_properties(const coney_message *a, const coney_message *b);

#endif
