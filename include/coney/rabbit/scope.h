/* SPDX-License-Identifier: MIT */
/* Several sends on one channel of their own, with one outcome. (Spring: RabbitTemplate.invoke() with
 * waitForConfirms, and channelTransacted.)
 *
 *     coney_scope_new(&scope, sender, NULL);
 *     for (...)
 *         coney_scope_send(scope, "orders", message, NULL);
 *     status = coney_scope_wait_for_confirms(scope, 5000);
 *     coney_scope_free(scope);
 *
 * A scope is confirmed or transacted, for AMQP allows only one of them on a channel. Both use the publishing
 * connection. A scope ends with its channel: it never moves to another connection, and resend_unconfirmed does
 * not apply. After a loss or refusal every call answers with the reason; free the scope and make another.
 *
 * One thread at a time uses a scope: a call during another one answers CONEY_E_STATE. Scopes of different threads
 * do not touch each other. Closing the factory does not wait for scopes. */
#ifndef CONEY_RABBIT_SCOPE_H
#define CONEY_RABBIT_SCOPE_H

#include <coney/rabbit/template.h>

CONEY_BEGIN

typedef struct coney_scope coney_scope;

typedef enum coney_scope_mode {
    CONEY_SCOPE_CONFIRMED = 0, /* publisher confirms, waited for together */
    CONEY_SCOPE_TRANSACTED,    /* AMQP's transactions: nothing takes effect before the commit; many times slower */
} coney_scope_mode;

/* Zero means the default. */
typedef struct coney_scope_options {
    coney_scope_mode mode;
    int timeout_ms; /* for opening and for each call that names none; the template's */
} coney_scope_options;

/* Opens a scope, connecting if need be. It sends with the template's defaults for exchange, routing key, mandatory,
 * max_unconfirmed and flow (without a store), and keeps the template alive until it is freed. options may be NULL. Any
 * thread. (AMQP: confirm.select or tx.select.)
 * CONEY_OK, CONEY_E_INVALID, CONEY_E_BLOCKED, CONEY_E_LIMIT, CONEY_E_LOST, _TIMEOUT, _CONNECT and the other statuses
 * of connecting, CONEY_E_BROKER (it has no transactions), CONEY_E_CLOSED, _STATE (after fork()), _NO_MEMORY. */
CONEY_API coney_status coney_scope_new(coney_scope **scope, coney_template *sender, const coney_scope_options *options);

/* Ends it. A transaction that is not committed is rolled back. If messages were received in it, the call waits, at most
 * timeout_ms, until they are back in their queue, as coney_scope_rollback() does; while the broker holds back
 * publishers it does not wait. What is unconfirmed may arrive or not; if nobody waited for it, the log tells how much
 * that is. During another call on the scope, by a processor for example, it is logged and not done. Takes NULL. */
CONEY_API void coney_scope_free(coney_scope *scope);

/* Puts the message on its way and does not wait for the broker. routing_key and options may be NULL.
 * CONEY_OK; CONEY_E_INVALID (a name over 255 bytes, headers that do not fit a frame), CONEY_E_BLOCKED,
 * CONEY_E_LIMIT (max_unconfirmed or max_outbound_bytes): nothing was sent, and the scope goes on; why it has ended:
 * CONEY_E_NOT_FOUND (an exchange), _ACCESS_REFUSED, _PRECONDITION_FAILED, _BROKER, _LOST, _CLOSED; CONEY_E_STATE
 * (another thread, or after fork()); CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_scope_send(coney_scope *scope, const char *routing_key, coney_message *message,
                                        const coney_send_options *options);

/* Takes one message from the queue if there is one now, else *message is NULL. It is given, and acknowledged: at
 * once, or transacted with the commit, so that what is received and what is sent for it stand or fall together;
 * after a rollback it is in its queue again, marked as redelivered. queue NULL: the template's receive_queue.
 * (AMQP: basic.get.) Statuses as coney_template_receive(), and why the scope has ended; a missing queue ends it. */
CONEY_API coney_status coney_scope_receive(coney_scope *scope, const char *queue, coney_message **message);

/* Waits until the broker has spoken about every message sent so far; with timeout_ms 0 it only looks.
 * (Spring: waitForConfirmsOrDie.)
 * CONEY_OK: it has taken all that were sent since the last wait. If not, the status of the first that it has not
 * (a refusal before losses), and the sentence tells how many of how many: CONEY_E_RETURNED, _NACKED, _NOT_FOUND,
 * _ACCESS_REFUSED, _PRECONDITION_FAILED, _BROKER; CONEY_E_LOST, _CLOSED: it may have them. After CONEY_E_TIMEOUT
 * wait again. CONEY_E_INVALID (a timeout below 0), CONEY_E_STATE (transacted, another thread, after fork()). */
CONEY_API coney_status coney_scope_wait_for_confirms(coney_scope *scope, int timeout_ms);

/* Transacted: takes effect of everything since the last commit or rollback, and a new transaction begins. (AMQP:
 * tx.commit.)
 * CONEY_OK; CONEY_E_RETURNED: it is committed, but no queue took some of the messages, the sentence tells how many
 * (brokers say so at the commit only, when the others are in their queues); CONEY_E_NOT_FOUND (a missing exchange
 * shows here at the latest), _ACCESS_REFUSED, _PRECONDITION_FAILED, _BROKER: rolled back by the broker, unless the
 * sentence says that part of it may have taken effect, which RabbitMQ allows when a queue fails or is full;
 * CONEY_E_LOST, _TIMEOUT, _CLOSED: before the commit was sent it is rolled back, after that nobody knows, and the
 * sentence says which; CONEY_E_STATE (confirmed, another thread, after fork()); CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_scope_commit(coney_scope *scope);

/* Transacted: undoes everything since the last commit or rollback; what was received goes back to its queue.
 * (AMQP: tx.rollback; it does not undo a basic.get, so each message is rejected with requeue, and that committed.)
 * CONEY_OK; why the scope has ended, which is a rollback, too; CONEY_E_STATE as coney_scope_commit(). */
CONEY_API coney_status coney_scope_rollback(coney_scope *scope);

CONEY_END

#endif
