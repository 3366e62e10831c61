/* SPDX-License-Identifier: MIT */
/* Processors read every message that is sent or received, and may replace it. (Spring: MessagePostProcessor.)
 *
 * A processor is added to a template or container under a name: see <coney/rabbit/template.h> and
 * <coney/rabbit/container.h>. <coney/amqp/compression.h> has processors that compress. */
#ifndef CONEY_AMQP_PROCESSOR_H
#define CONEY_AMQP_PROCESSOR_H

#include <coney/amqp/message.h>

CONEY_BEGIN

/* Processes one message, on the thread that sends or consumes it, with no Coney lock held; several threads may run it
 * at the same time. *message is borrowed. To replace the message, write another message to *message and give its
 * reference, as `return coney_message_with(message, *message, ...)` does. To discard a received message, write NULL.
 * exchange and routing_key are where the message goes, or came from; views for the call.
 * - CONEY_OK.
 * - Any other status ends the send with that status, or rejects the received message. Its sentence comes from the call
 *   that failed, or from coney_conversion_failed(). */
typedef coney_status coney_process(coney_message **message, const char *exchange, const char *routing_key, void *user);

/* Zero means the default. */
typedef struct coney_processor {
    const char *name;       /* Required. For errors, and for removing the processor. 1 to 255 bytes. */
    coney_process *process; /* Required. */
    int order;              /* Lower numbers run first, equal numbers in the order of adding. Default: 0. */
    void *user;
    void (*free_user)(void *user); /* Runs once, after the processor is removed and no thread runs it any more, on the
                                      last thread that ran it. NULL: nothing to free. */
} coney_processor;

/* Frees the user pointer of a processor that was not added; adding a processor takes the pointer. Takes NULL. */
CONEY_API void coney_processor_free(coney_processor *processor);

/* The processor "message-id": a message without a message id gets a random one, a UUID of version 4. The option
 * create_message_ids of a template adds it. (Spring: createMessageIds.) */
CONEY_API coney_processor coney_message_id_processor(void);

/* The processor "timestamp": a message without a timestamp gets the time of sending, in seconds. */
CONEY_API coney_processor coney_timestamp_processor(void);

CONEY_END

#endif
