/* SPDX-License-Identifier: MIT */
/* Several sends on a channel of their own, with one outcome. (Spring: RabbitTemplate.invoke() with waitForConfirms, and
 * channelTransacted.)
 *
 *     coney_scope_new(&scope, sender, NULL);
 *     for (...)
 *         coney_scope_send(scope, "orders", message, NULL);
 *     status = coney_scope_wait_for_confirms(scope, 5000);
 *     coney_scope_free(scope);
 *
 * A scope is confirmed or transacted, because AMQP allows only one of them on a channel. Both use the publishing
 * connection. A scope ends with its channel: it never moves to another connection, and resend_unconfirmed does not
 * apply. After a loss or a refusal every call returns the reason; free the scope and make another.
 *
 * One thread at a time uses a scope: a call during another call returns CONEY_E_STATE. Scopes of different threads do
 * not affect each other. Closing the factory does not wait for scopes. */
#ifndef CONEY_RABBIT_SCOPE_H
#define CONEY_RABBIT_SCOPE_H

#include <coney/rabbit/template.h>

CONEY_BEGIN

typedef struct coney_scope coney_scope;

typedef enum coney_scope_mode {
    CONEY_SCOPE_CONFIRMED = 0, /* Publisher confirms, waited for together. */
    CONEY_SCOPE_TRANSACTED,    /* AMQP's transactions: nothing takes effect before the commit. Many times slower. */
} coney_scope_mode;

/* Zero means the default. */
typedef struct coney_scope_options {
    coney_scope_mode mode;
    int timeout_ms; /* For opening, and for each call without a timeout of its own. Default: the template's. */
} coney_scope_options;

/* Opens a scope, and connects if necessary. The scope sends with the template's exchange, routing key,
 * drop_unroutable, max_unconfirmed and flow (CONEY_FLOW_STORE stores nothing here), and keeps the template alive until
 * the scope is freed. options may be NULL. Any thread. (AMQP: confirm.select or tx.select.)
 * - CONEY_OK, CONEY_E_INVALID, CONEY_E_BLOCKED, CONEY_E_LIMIT, CONEY_E_CLOSED, CONEY_E_NO_MEMORY.
 * - CONEY_E_LOST, CONEY_E_TIMEOUT, CONEY_E_CONNECT and the other statuses of connecting.
 * - CONEY_E_BROKER: the broker has no transactions.
 * - CONEY_E_STATE: after fork(). */
CONEY_API coney_status coney_scope_new(coney_scope **scope, coney_template *sender, const coney_scope_options *options);

/* Ends and frees a scope. A transaction that is not committed is rolled back. If the scope has received messages, the
 * call waits, at most timeout_ms, until they are back in their queue, as coney_scope_rollback() does; while the broker
 * holds back publishers the call does not wait. Unconfirmed messages may arrive or not; if nobody has waited for them,
 * the log tells how many they are. During another call on the scope, for example from a processor, the call is logged
 * and does nothing. Takes NULL. */
CONEY_API void coney_scope_free(coney_scope *scope);

/* Sends a message and does not wait for the broker. routing_key and options may be NULL.
 * - CONEY_OK: the message is on its way.
 * - CONEY_E_INVALID: nothing was sent, because a name has over 255 bytes, or the headers do not fit a frame. The scope
 *   can be used further.
 * - CONEY_E_BLOCKED, CONEY_E_LIMIT (max_unconfirmed or max_outbound_bytes): nothing was sent. The scope can be used
 *   further.
 * - CONEY_E_NOT_FOUND (an exchange), _ACCESS_REFUSED, _PRECONDITION_FAILED, _BROKER, _LOST, _CLOSED: why the scope has
 *   ended.
 * - CONEY_E_STATE: another thread is in a call, or after fork().
 * - CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_scope_send(coney_scope *scope, const char *routing_key, coney_message *message,
                                        const coney_send_options *options);

/* Takes one message that is ready in the queue (NULL: the template's receive_queue); *message is given, and NULL if no
 * message is ready. (AMQP: basic.get.) A confirmed scope acknowledges the message at once. A transacted scope
 * acknowledges it with the commit, so receiving a message and sending its results succeed or fail together; after a
 * rollback the message is in its queue again, marked as redelivered. Statuses as coney_template_receive(), and the
 * reason why the scope has ended. A missing queue ends the scope. */
CONEY_API coney_status coney_scope_receive(coney_scope *scope, const char *queue, coney_message **message);

/* Confirmed scope: waits until the broker has confirmed or refused every message sent so far. With timeout_ms 0 the
 * call does not wait. (Spring: waitForConfirmsOrDie.)
 * - CONEY_OK: the broker has all messages sent since the last wait.
 * - CONEY_E_RETURNED, _NACKED, _NOT_FOUND, _ACCESS_REFUSED, _PRECONDITION_FAILED, _BROKER: the broker does not have
 *   some of them. The status is that of the first such message, a refusal before losses; the sentence tells how many of
 *   how many messages failed.
 * - CONEY_E_LOST, CONEY_E_CLOSED: the same, but the broker may have these messages.
 * - CONEY_E_TIMEOUT: not all outcomes are known yet; wait again.
 * - CONEY_E_INVALID: a timeout below 0.
 * - CONEY_E_STATE: the scope is transacted, another thread is in a call, or after fork(). */
CONEY_API coney_status coney_scope_wait_for_confirms(coney_scope *scope, int timeout_ms);

/* Transacted scope: makes everything since the last commit or rollback take effect, and begins a new transaction.
 * (AMQP: tx.commit.)
 * - CONEY_OK.
 * - CONEY_E_RETURNED: the transaction is committed, but no queue took some of the messages; the sentence tells how
 *   many. Brokers say so only at the commit, when the other messages are in their queues.
 * - CONEY_E_NOT_FOUND (a missing exchange shows here at the latest), _ACCESS_REFUSED, _PRECONDITION_FAILED, _BROKER:
 *   the broker has rolled back. If the sentence says that part of the transaction may have taken effect, it may have:
 *   RabbitMQ allows that when a queue fails or is full.
 * - CONEY_E_LOST, _TIMEOUT, _CLOSED: if the commit was not sent, the transaction is rolled back; if it was sent, nobody
 *   knows. The sentence says which.
 * - CONEY_E_STATE: the scope is confirmed, another thread is in a call, or after fork().
 * - CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_scope_commit(coney_scope *scope);

/* Transacted scope: undoes everything since the last commit or rollback; received messages go back to their queue.
 * (AMQP: tx.rollback, which does not undo a basic.get; so each message is rejected with requeue, and that is
 * committed.)
 * - CONEY_OK.
 * - The reason why the scope has ended, which is a rollback, too.
 * - CONEY_E_STATE: as coney_scope_commit(). */
CONEY_API coney_status coney_scope_rollback(coney_scope *scope);

CONEY_END

#endif
