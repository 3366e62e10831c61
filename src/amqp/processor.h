/* SPDX-License-Identifier: MIT */
/* Lists of processors that change while threads run them. */
#ifndef CNY_AMQP_PROCESSOR_H
#define CNY_AMQP_PROCESSOR_H

#include "amqp/amqp.h"

#include <coney/amqp/processor.h>

typedef struct cny_processor_list cny_processor_list;

typedef struct cny_processors {
    atomic_bool any; /* false: there are none, so the lock need not be taken */
    /* under lock */
    pthread_mutex_t lock;
    cny_processor_list *list; /* constant, so a thread that runs it needs only a reference; NULL: empty */
} cny_processors;

void cny_processors_init(cny_processors *processors);
void cny_processors_free(cny_processors *processors);

/* Adds a copy, and takes the processor's user pointer in any case. CONEY_E_INVALID (the name is taken, or something is
 * missing), CONEY_E_NO_MEMORY. */
coney_status cny_processors_add(cny_processors *processors, const coney_processor *processor);

/* CONEY_E_INVALID: there is no processor of this name; CONEY_E_NO_MEMORY. */
coney_status cny_processors_remove(cny_processors *processors, const char *name);

static inline bool cny_processors_any(cny_processors *processors)
{
    return atomic_load_explicit(&processors->any, memory_order_acquire);
}

/* Runs the processors in their order. `*message` is a reference, which becomes the reference to the result. It becomes
 * NULL if a processor discards the message; later processors do not run then. Returns the status of the processor that
 * fails, with its name in the sentence; the reference is then to the last result. */
coney_status cny_processors_run(cny_processors *processors, coney_message **message, const char *exchange,
                                const char *routing_key);

#endif
