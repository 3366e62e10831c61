/* SPDX-License-Identifier: MIT */
/* What becomes of a message whose attempts are used up, and the copy that is published in its place. */
#ifndef CNY_HANDLING_EXHAUSTED_H
#define CNY_HANDLING_EXHAUSTED_H

#include "rabbit/listener/handling/delivery.h"

#define CNY_MAX_LEFT_OUT 360

/* How the copy of a message is made that is published in its place. */
typedef struct cny_copy_form {
    int round;       /* of the ladder; 0: none */
    bool comes_back; /* to the queue of the listener; false: it stays where it is published */
    bool with_text;  /* the reason, as a header */
    bool fits;       /* headers of the sender are left out until the others fit the frame; false: all are kept */
    size_t frame;    /* bytes */
    char left_out[CNY_MAX_LEFT_OUT]; /* given: how many headers of the sender are left out, and which; "": none */
} cny_copy_form;

/* Gives the copy, and fills left_out; CONEY_E_NO_MEMORY. The second function: the number of attempts that the copy
 * tells of. */
coney_status cny_copy_make(coney_message **copy, coney_delivery *delivery, cny_copy_form *form);
int cny_attempts_made(const coney_delivery *delivery);

/* Sends a copy to or from quarantine, confirmed. The statuses of coney_template_send(). */
coney_status cny_republish(coney_delivery *delivery, const char *queue);

/* Each does what it says and returns what becomes of the original. cny_end_exhausted() does what the listener's
 * retry.exhausted says, cny_park() parks whatever that says, and cny_pass_over() counts and tells a message of a
 * stream. cny_send_to_retry_queue() has the message wait for its next round on the ladder. */
cny_disposition cny_end_exhausted(coney_delivery *delivery);
cny_disposition cny_park(coney_delivery *delivery);
cny_disposition cny_pass_over(coney_delivery *delivery);
cny_disposition cny_send_to_retry_queue(coney_delivery *delivery, int round);

#endif
