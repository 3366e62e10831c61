/* SPDX-License-Identifier: MIT */
/* The dispositions: what can become of a message. policy.c chooses, settle.c tells the broker. */
#ifndef CNY_HANDLING_DISPOSITION_H
#define CNY_HANDLING_DISPOSITION_H

#include <stdbool.h>

/* From the mildest to the worst: the worst disposition of a batch's fragments is that of the batch. */
typedef enum cny_disposition {
    CNY_NONE,    /* not decided yet */
    CNY_ACK,     /* acknowledged: handled, or sent on */
    CNY_RETURN,  /* back to the queue, and that is no failure: no handler could have the message */
    CNY_REQUEUE, /* back to the queue, as an attempt that failed */
    CNY_REJECT,  /* never again: to the dead-letter exchange, if there is one */
} cny_disposition;

static inline bool cny_goes_back(cny_disposition disposition)
{
    return disposition == CNY_RETURN || disposition == CNY_REQUEUE;
}

/* The message does not come back from here. */
static inline bool cny_is_final(cny_disposition disposition)
{
    return disposition == CNY_ACK || disposition == CNY_REJECT;
}

#endif
