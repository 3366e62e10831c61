/* SPDX-License-Identifier: MIT */
/* Sends whose outcome is asked for later. (Spring: CorrelationData and its future.)
 *
 * A program can send many messages, do something else, and then ask for the outcome of each. Outcomes do not depend on
 * the events thread, so callbacks and handlers may wait for them, too. */
#ifndef CONEY_RABBIT_CONFIRMATION_H
#define CONEY_RABBIT_CONFIRMATION_H

#include <coney/rabbit/template.h>

CONEY_BEGIN

/* The outcome of one message. Any thread may call these functions, but not during or after
 * coney_confirmation_free(). */
typedef struct coney_confirmation coney_confirmation;

/* Sends like coney_template_send_async() and gives a confirmation, which replaces the callback. The outcome is known
 * after the template's confirm_timeout_ms at the latest. Statuses as coney_template_send_async(); after any status but
 * CONEY_OK *confirmation is NULL, and nothing was sent. */
CONEY_API coney_status coney_template_begin_send(coney_template *sender, coney_confirmation **confirmation,
                                                 const char *routing_key, coney_message *message,
                                                 const coney_send_options *options);

/* Waits until the outcome is known, and returns the outcome. With timeout_ms 0 the call does not wait.
 * - CONEY_OK: the broker has confirmed the message.
 * - A status of coney_send_callback, with sentence and details as the thread's last error.
 * - CONEY_E_TIMEOUT while coney_confirmation_is_done() is false: the outcome is not known after timeout_ms; wait again.
 * - CONEY_E_INVALID.
 * - CONEY_E_STATE: after fork(). */
CONEY_API coney_status coney_confirmation_wait(coney_confirmation *confirmation, int timeout_ms);

/* Waits for all confirmations of the array with one deadline. No element may be NULL. A count of 0 is CONEY_OK.
 * - CONEY_OK: the broker has confirmed all messages.
 * - Otherwise a status as coney_confirmation_wait(), of the first element of the array that is not confirmed; the
 *   sentence tells its index. */
CONEY_API coney_status coney_confirmation_wait_all(coney_confirmation *const confirmations[], size_t count,
                                                   int timeout_ms);

/* Asks whether the outcome is known. Never waits. False for NULL and after fork(). */
CONEY_API bool coney_confirmation_is_done(coney_confirmation *confirmation);

/* Why the message was not confirmed. NULL if it was confirmed, while the outcome is not known, and for NULL. A view
 * that lives as long as the confirmation. */
CONEY_API const coney_error *coney_confirmation_error(coney_confirmation *confirmation);

/* Frees the confirmation at any time. If the outcome is not known yet, the send continues, and a failure is logged.
 * Takes NULL. */
CONEY_API void coney_confirmation_free(coney_confirmation *confirmation);

CONEY_END

#endif
