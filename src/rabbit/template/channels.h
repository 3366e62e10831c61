/* SPDX-License-Identifier: MIT */
/* The channels of a template: the channel in confirm mode, its predecessors with work left, and the unconfirmed
 * channel. Private to the folder. */
#ifndef CNY_TEMPLATE_CHANNELS_H
#define CNY_TEMPLATE_CHANNELS_H

#include "rabbit/template/template.h"

/* ---- channels.c ---- */

/* Gives a reference to a live channel in confirm mode. One thread opens it, without the lock; the others wait for that
 * no longer than their own deadlines. */
coney_status cny_template_get_channel(coney_template *sender, cny_channel **channel, int64_t deadline);

/* Gives a reference to the channel if a message may be sent on it now, or NULL. Waits for nothing. */
cny_channel *cny_template_channel_for_now(coney_template *sender);

/* Opens a channel, and tries until the deadline. After a failure *channel is NULL or a dead channel. */
coney_status cny_template_open_channel(const coney_template *sender, cny_channel **channel, bool confirms,
                                       int64_t deadline);
coney_status cny_template_select_confirms(const coney_template *sender, cny_channel *made, int64_t deadline);
void cny_template_drop_channel(cny_channel *channel);

/* Under lock: makes this the template's channel. CONEY_E_NO_MEMORY. */
coney_status cny_template_install_channel(coney_template *sender, cny_channel *channel);

/* Under lock: the error of a thread that has waited in vain for another thread to open the channel. */
coney_status cny_template_fail_no_channel(const coney_template *sender);

/* Under lock, with a channel, and while nothing older is to be sent again: sends some of the stored messages. Not
 * CONEY_OK: why the next message cannot be sent now. */
coney_status cny_template_send_stored(coney_template *sender);

/* Under lock: must other messages be sent before a message of this number? */
bool cny_template_has_older(const coney_template *sender, uint64_t number);

/* Under lock: retires the channel if it is dead, until its callbacks have returned and its unconfirmed messages are
 * sent again. Drops retired channels that have no work left. */
void cny_template_retire(coney_template *sender);

/* Under lock, while no thread is busy: do messages await resending? */
bool cny_template_awaits_resend(const coney_template *sender);

/* The same, but false if each of them waits for the declaration of its exchange or queue: they do not delay messages
 * for others. */
bool cny_template_can_resend(const coney_template *sender);

/* Under lock: must a new channel wait until callbacks of retired channels have returned? */
bool cny_template_has_too_many_retired(const coney_template *sender);

/* Under lock: completes the messages that await resending with CONEY_E_CLOSED. */
void cny_template_abandon_resend(const coney_template *sender);

/* Gives references to the channels whose confirms or callbacks may be outstanding, oldest first, as cny_channel *.
 * CONEY_E_NO_MEMORY. */
coney_status cny_template_channels(coney_template *sender, cny_buffer *channels);
void cny_template_channels_free(cny_buffer *channels);

/* ---- resend.c ---- */

/* Sends again what was unconfirmed on retired channels, and then what is stored. The recovery thread calls this, as
 * resend() of a cny_member. */
bool cny_template_resend(void *self, cny_connection *connection);

/* ---- unconfirmed.c ---- */

/* Gives a reference to a live channel that is not in confirm mode. */
coney_status cny_template_get_unconfirmed_channel(coney_template *sender, cny_channel **channel, int64_t deadline);

/* Drops the unconfirmed channel if it is gone, and logs if the broker refused a message. */
void cny_template_check_unconfirmed_channel(coney_template *sender);

#endif
