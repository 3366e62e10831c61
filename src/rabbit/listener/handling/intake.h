/* SPDX-License-Identifier: MIT */
/* What lanes do with the messages of a source. While the source has one channel, the mode only rises: whoever wants
 * more comes too late when somebody has wanted less. Any thread. */
#ifndef CNY_LISTENER_HANDLING_INTAKE_H
#define CNY_LISTENER_HANDLING_INTAKE_H

#include <stdatomic.h>
#include <stdbool.h>

typedef enum cny_intake_mode {
    CNY_INTAKE_OPEN,   /* messages come, and are handled */
    CNY_INTAKE_DRAIN,  /* it ends: those that are here are handled; the supervisor waits for the lanes */
    CNY_INTAKE_RETURN, /* it ends: those that no handler has yet go back to the queue, unless nothing is acknowledged */
    CNY_INTAKE_DROP,   /* it ends: those that no handler has yet are dropped, for their channel is closed */
} cny_intake_mode;

typedef struct cny_intake {
    atomic_int mode;
} cny_intake;

/* For a new channel. */
static inline void cny_intake_open(cny_intake *intake)
{
    atomic_store(&intake->mode, CNY_INTAKE_OPEN);
}

/* Not weaker than sequentially consistent: a thread that settles counts its delivery down and then asks whether the
 * intake ends; the supervisor ends it and then reads the count. One of the two must see what the other has done. */
static inline cny_intake_mode cny_intake_now(const cny_intake *intake)
{
    return (cny_intake_mode)atomic_load(&intake->mode);
}

static inline bool cny_intake_ends(const cny_intake *intake)
{
    return cny_intake_now(intake) != CNY_INTAKE_OPEN;
}

/* Does nothing if the mode is that high already. */
static inline void cny_intake_raise(cny_intake *intake, cny_intake_mode mode)
{
    int before = atomic_load(&intake->mode);
    while (before < (int)mode && !atomic_compare_exchange_weak(&intake->mode, &before, (int)mode))
        ;
}

#endif
