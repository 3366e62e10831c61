/* SPDX-License-Identifier: MIT */
/* Lists of processors that change while threads run them. */
#ifndef CNY_AMQP_PROCESSOR_H
#define CNY_AMQP_PROCESSOR_H

#include "amqp/amqp.h"

#include <coney/amqp/processor.h>

typedef struct cny_processor_list cny_processor_list;

typedef struct cny_processors {
    atomic_bool any; /* spares the lock where there are none */
    /* under lock */
    pthread_mutex_t lock;
    cny_processor_list *list; /* constant, so whoever runs it needs a reference only; NULL: empty */
} cny_processors;

void cny_processors_init(cny_processors *processors);
void cny_processors_free(cny_processors *processors);

/* Adds a copy and takes its user pointer, success or failure. CONEY_E_INVALID (the name is taken, or
 * something is missing), CONEY_E_NO_MEMORY. */
coney_status cny_processors_add(cny_processors *processors, const coney_processor *processor);

/* CONEY_E_INVALID: there is none of that name; CONEY_E_NO_MEMORY. */
coney_status cny_processors_remove(cny_processors *processors, const char *name);

static inline bool cny_processors_any(cny_processors *processors)
{
    return atomic_load_explicit(&processors->any, memory_order_acquire);
}

/* Runs them in their order. `*message` is a reference, which is replaced by that to the result: NULL
 * if a processor discards the message, which the ones behind it do not see. Whatever a processor
 * fails with, with its name in the sentence; the reference is then to the last result. */
coney_status cny_processors_run(cny_processors *processors, coney_message **message, const char *exchange,
                                const char *routing_key);

#endif
