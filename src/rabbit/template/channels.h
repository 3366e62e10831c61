/* SPDX-License-Identifier: MIT */
/* The channels of a template: the one in confirm mode, those that were it before, and the one without confirms. Private
 * to the folder. */
#ifndef CNY_TEMPLATE_CHANNELS_H
#define CNY_TEMPLATE_CHANNELS_H

#include "rabbit/template/template.h"

/* ---- channels.c ---- */

/* Gives a reference to a live channel in confirm mode. One thread opens it, without the lock; the others wait for that
 * no longer than their own deadlines. */
coney_status cny_template_get_channel(coney_template *sender, cny_channel **channel, int64_t deadline);

/* Gives a reference to the channel if a message may be sent on it now, else NULL. Waits for nothing. */
cny_channel *cny_template_channel_for_now(coney_template *sender);

/* Opens a channel, until the deadline. Sets it on failure, too: to NULL or to a dead one. */
coney_status cny_template_open_channel(const coney_template *sender, cny_channel **channel, bool confirms,
                                       int64_t deadline);
coney_status cny_template_select_confirms(const coney_template *sender, cny_channel *made, int64_t deadline);
void cny_template_drop_channel(cny_channel *channel);

/* Under lock: makes this the template's channel. CONEY_E_NO_MEMORY. */
coney_status cny_template_install_channel(coney_template *sender, cny_channel *channel);

/* Under lock: why there is no channel at the deadline, though another thread was opening one. */
coney_status cny_template_fail_no_channel(const coney_template *sender);

/* Under lock, with a channel and nothing older to be sent again: sends some of what is stored. Not CONEY_OK: why the
 * next message cannot go. */
coney_status cny_template_send_stored(coney_template *sender);

/* Under lock: must anything be sent before a message that would get this number in the store? */
bool cny_template_has_older(const coney_template *sender, uint64_t number);

/* Under lock: puts a dead channel aside until its callbacks have run and its unconfirmed messages are sent again, and
 * lets go of those that have nothing left. */
void cny_template_retire(coney_template *sender);

/* Under lock, while no thread is busy: do messages await resending? And do they not only wait for a declaration, which
 * holds up nothing that goes elsewhere? */
bool cny_template_awaits_resend(const coney_template *sender);
bool cny_template_can_resend(const coney_template *sender);

/* Under lock: so many that a new channel must wait until callbacks have returned. */
bool cny_template_has_too_many_retired(const coney_template *sender);
coney_status cny_template_fail_too_many_retired(void);

/* Under lock: ends what awaits resending with CONEY_E_CLOSED. */
void cny_template_abandon_resend(const coney_template *sender);

/* Gives the channels whose confirms or callbacks may be outstanding, oldest first: references, of
 * cny_channel *. CONEY_E_NO_MEMORY. */
coney_status cny_template_channels(coney_template *sender, cny_buffer *channels);
void cny_template_channels_free(cny_buffer *channels);

/* ---- resend.c ---- */

/* Sends again what was unconfirmed on channels that are gone, then what is stored. The recovery thread's part, as a
 * member's resend(). */
bool cny_template_resend(void *self, cny_connection *connection);

/* ---- unconfirmed.c ---- */

/* Gives a reference to a live channel that is not in confirm mode. */
coney_status cny_template_get_unconfirmed_channel(coney_template *sender, cny_channel **channel, int64_t deadline);

/* Lets go of such a channel that is gone, and logs if the broker refused something. */
void cny_template_check_unconfirmed_channel(coney_template *sender);

#endif
