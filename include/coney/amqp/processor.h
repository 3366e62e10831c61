/* SPDX-License-Identifier: MIT */
/* Processors look at every message on its way out or in, and may put another in its place.
 * (Spring: MessagePostProcessor.)
 *
 * They are added to a template or container under a name and run in their order; see
 * <coney/rabbit/template.h> and <coney/rabbit/container.h>, and <coney/amqp/compression.h> for
 * those that compress. */
#ifndef CONEY_AMQP_PROCESSOR_H
#define CONEY_AMQP_PROCESSOR_H

#include <coney/amqp/message.h>

CONEY_BEGIN

/* Processes one message, on the thread that sends or consumes it, with no Coney lock held; several
 * threads may run it at once. `*message` is borrowed. To replace it, write another there and give
 * its reference: `return coney_message_with(message, *message, ...)` does. A received message that is
 * to be discarded is replaced by NULL. Exchange and routing key are where it goes or came from;
 * views for the call.
 * Any status but CONEY_OK ends the send with that status, or rejects the received message; its
 * sentence comes from the call that failed or from coney_conversion_failed(). */
typedef coney_status coney_process(coney_message **message, const char *exchange, const char *routing_key, void *user);

/* Zero means the default. */
typedef struct coney_processor {
    const char *name;       /* required: for errors and for removing it; 1 to 255 bytes */
    coney_process *process; /* required */
    int order;              /* lower ones run first, equal ones as they were added; 0 */
    void *user;
    void (*free_user)(void *user); /* runs once: when it is removed and no thread runs it any more, on the
                                      last thread that did. NULL: nothing to free */
} coney_processor;

/* Frees the user pointer of a processor that is not added anywhere; adding takes it. Takes NULL. */
CONEY_API void coney_processor_free(coney_processor *processor);

/* "message-id": gives messages that have no message id a random one (a UUID of version 4).
 * (Spring: createMessageIds.) */
CONEY_API coney_processor coney_message_id_processor(void);

/* "timestamp": gives messages that have no timestamp the time of sending, in seconds. */
CONEY_API coney_processor coney_timestamp_processor(void);

CONEY_END

#endif
