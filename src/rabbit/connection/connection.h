/* SPDX-License-Identifier: MIT */
/* Connections and channels, as the template, the admin and the container use them.
 *
 * A cny_connection is one physical connection: it connects, opens, and ends once, for one
 * reason. A cny_channel belongs to one connection and ends with it or before it; what ended is
 * never revived, so a channel object is its own generation: an acknowledgement kept for a dead
 * one cannot reach its successor. Recovery, when it comes, makes new ones in the factory.
 *
 * All functions may be called from any thread but the I/O thread, wait at most until their
 * deadline (cny_deadline()), and leave the reason of a failure with coney_last_error(). */
#ifndef CNY_CONNECTION_H
#define CNY_CONNECTION_H

#include "amqp/amqp.h"

#include <coney/rabbit/admin.h>
#include <coney/rabbit/connection_factory.h>
#include <coney/rabbit/template.h>

typedef struct cny_channel cny_channel;

/* Publishing and consuming stay apart, so that a broker that holds back publishers does not
 * stop consumers. */
typedef enum cny_role { CNY_PUBLISHING, CNY_CONSUMING, CNY_ROLE_COUNT } cny_role;

coney_connection_factory *cny_factory_ref(coney_connection_factory *factory);
void cny_factory_unref(coney_connection_factory *factory);

/* Is this the factory's events thread, on which callbacks run? */
bool cny_factory_on_events_thread(coney_connection_factory *factory);

/* ---- channels ---- */

/* Opens a channel on the factory's connection for the role, connecting if need be. Gives it. */
coney_status cny_channel_open(cny_channel **channel, coney_connection_factory *factory, cny_role role,
                              int64_t deadline);
cny_channel *cny_channel_ref(cny_channel *channel);
void cny_channel_unref(cny_channel *channel);

/* Neither closed by us nor by the broker, as far as is known. */
bool cny_channel_alive(cny_channel *channel);

/* Closes it without waiting for the broker's close-ok; what waits on it fails with
 * CONEY_E_CLOSED, unacknowledged deliveries go back to their queue. Idempotent. */
void cny_channel_close(cny_channel *channel);

/* ---- methods with a reply ---- */

coney_status cny_channel_confirm_select(cny_channel *channel, int max_unconfirmed, int64_t deadline);
coney_status cny_channel_declare_queue(cny_channel *channel, const coney_queue *queue, bool passive,
                                       coney_queue_info *info, int64_t deadline);
coney_status cny_channel_declare_exchange(cny_channel *channel, const coney_exchange *exchange, int64_t deadline);
coney_status cny_channel_bind(cny_channel *channel, const coney_binding *binding, int64_t deadline);
coney_status cny_channel_unbind(cny_channel *channel, const coney_binding *binding, int64_t deadline);
coney_status cny_channel_delete_queue(cny_channel *channel, const char *queue, uint32_t *messages, int64_t deadline);
coney_status cny_channel_delete_exchange(cny_channel *channel, const char *exchange, int64_t deadline);
coney_status cny_channel_purge(cny_channel *channel, const char *queue, uint32_t *messages, int64_t deadline);

/* ---- publishing, after confirm_select ---- */

typedef struct cny_publish {
    const char *exchange;
    const char *routing_key;
    coney_message *message;
    bool mandatory;
    coney_send_callback *callback; /* NULL: nobody asks */
    void *user;
} cny_publish;

/* Puts the message on its way; its outcome comes to the callback on the events thread.
 * CONEY_E_STALE: the channel was dead already, nothing was sent. */
coney_status cny_channel_publish(cny_channel *channel, const cny_publish *publish, int64_t deadline);

/* The same, and waits for the outcome, which it returns. publish->callback is not looked at. */
coney_status cny_channel_publish_and_wait(cny_channel *channel, const cny_publish *publish, int64_t deadline);

/* Waits until nothing is unconfirmed and all callbacks have returned; tells whether that is so. */
bool cny_channel_finished(cny_channel *channel);
coney_status cny_channel_wait_for_confirms(cny_channel *channel, int64_t deadline);

/* ---- consuming ---- */

coney_status cny_channel_consume(cny_channel *channel, const char *queue, int prefetch, int64_t deadline);

/* Asks the broker for no more deliveries; those on their way still come before the end. */
void cny_channel_cancel(cny_channel *channel);

/* Waits for deliveries and swaps all that are there into the empty batch, as coney_message
 * pointers which are the caller's. When no more will come: CONEY_OK with an empty batch if
 * cny_channel_cancel() ended it, else why it ended. CONEY_E_TIMEOUT. */
coney_status cny_channel_receive(cny_channel *channel, cny_buffer *batch, int64_t deadline);

typedef enum cny_settlement { CNY_SETTLE_ACK, CNY_SETTLE_REJECT, CNY_SETTLE_REQUEUE } cny_settlement;

/* CONEY_E_STALE if the channel is gone: nothing was sent, the broker delivers again. */
coney_status cny_channel_settle(cny_channel *channel, const coney_message *message, cny_settlement settlement);

#endif
