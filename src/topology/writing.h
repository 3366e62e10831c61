/* SPDX-License-Identifier: MIT */
/* Text that grows in a buffer. A failure for want of memory is kept until the end. */
#ifndef CNY_TOPOLOGY_WRITING_H
#define CNY_TOPOLOGY_WRITING_H

#include "topology/topology.h"

typedef struct cny_writing {
    cny_buffer text;
    bool has_failed;
} cny_writing;

void cny_write(cny_writing *to, const char *format, ...) CNY_PRINTF(2, 3);
void cny_write_text(cny_writing *to, const char *text, size_t size);

/* Gives the text, and frees the rest. CONEY_E_NO_MEMORY. */
coney_status cny_writing_end(cny_writing *to, char **text);

/* What a picture says of a queue: its kind, flags and arguments but those of dead letters, with `between` between
 * them. */
void cny_write_queue_properties(cny_writing *to, const coney_queue *queue, const char *between);
void cny_write_exchange_properties(cny_writing *to, const coney_exchange *exchange, const char *between);

/* The matched headers of a binding, such as "all: a = 1, b"; nothing without arguments. */
void cny_write_arguments(cny_writing *to, const coney_table *arguments);

#endif
