/* SPDX-License-Identifier: MIT */
/* What a handler gets of a message: an object of a converter or of a type, or the body by its content type. */
#ifndef CNY_HANDLING_PAYLOAD_H
#define CNY_HANDLING_PAYLOAD_H

#include "amqp/amqp.h"

typedef struct cny_payload {
    /* by the worker, before the handler is called */
    void *object;                     /* NULL: there is none */
    const coney_converter *converter; /* of the object; NULL: its type has read it */
    coney_content content;            /* views of the object; kind 0: only the program's converter knows */
    bool is_by_content;               /* nothing has to be converted before the handler is called */
    /* any thread */
    _Atomic(coney_content *) asked; /* with is_by_content: made when somebody first asked; NULL: not yet */
} cny_payload;

/* Makes the object, by the first that is not NULL. The payload is empty. A failure leaves it empty. */
coney_status cny_payload_make(cny_payload *payload, coney_message *message, const coney_converter *converter,
                              const coney_type *type);
void cny_payload_clear(cny_payload *payload);

/* Memory of the object, by a guess if it is JSON; the message has this size. */
size_t cny_payload_bytes(const cny_payload *payload, size_t message_size);

/* The payload, or NULL. CONEY_E_STATE: the message was not to be converted, or could not be; the other statuses are of
 * coney_message_content(). */
coney_status cny_payload_content(const coney_content **content, cny_payload *payload, coney_message *message);

#endif
