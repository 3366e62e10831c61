/* SPDX-License-Identifier: MIT */
/* Sends whose outcome is asked for later. (Spring: CorrelationData and its future.)
 *
 * Between a send that waits and a send with a callback: send many, do something else, then see how
 * each went. Outcomes come on Coney's threads without the help of the events thread, so waiting is
 * possible in callbacks and handlers, too. */
#ifndef CONEY_RABBIT_CONFIRMATION_H
#define CONEY_RABBIT_CONFIRMATION_H

#include <coney/rabbit/template.h>

CONEY_BEGIN

/* What becomes of one message. Each function may be called from any thread, but none during or after
 * coney_confirmation_free(). */
typedef struct coney_confirmation coney_confirmation;

/* Sends like coney_template_send_async() and gives what tells the outcome instead of calling back. The
 * outcome comes by the template's confirm_timeout_ms. Statuses as coney_template_send_async(); after
 * any but CONEY_OK *confirmation is NULL and nothing was sent. */
CONEY_API coney_status coney_template_begin_send(coney_template *sender, coney_confirmation **confirmation,
                                                 const char *routing_key, coney_message *message,
                                                 const coney_send_options *options);

/* Waits until the outcome is known, and returns it: CONEY_OK only if the broker confirmed the message, else
 * a status of coney_send_callback, with its sentence and details as the thread's last error.
 * Not known after timeout_ms: CONEY_E_TIMEOUT, and coney_confirmation_is_done() is false; it may be
 * waited for again. With timeout_ms 0 it only looks. CONEY_E_INVALID, CONEY_E_STATE (after fork()). */
CONEY_API coney_status coney_confirmation_wait(coney_confirmation *confirmation, int timeout_ms);

/* Waits for all of them, in any order, with one deadline. CONEY_OK if all are confirmed; else the status
 * of the first in the array that is not, with its index in the sentence: as above. None of
 * the array's elements may be NULL; count 0 is CONEY_OK. */
CONEY_API coney_status coney_confirmation_wait_all(coney_confirmation *const confirmations[], size_t count,
                                                   int timeout_ms);

/* Is the outcome known? Never waits. False for NULL and after fork(). */
CONEY_API bool coney_confirmation_is_done(coney_confirmation *confirmation);

/* Why the message was not confirmed; a view of the confirmation. NULL if it was, or if that is not known
 * yet, and for NULL. */
CONEY_API const coney_error *coney_confirmation_error(coney_confirmation *confirmation);

/* At any time; if the outcome is not known yet, the send goes on, and a failure is logged. Takes NULL. */
CONEY_API void coney_confirmation_free(coney_confirmation *confirmation);

CONEY_END

#endif
