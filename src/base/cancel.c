/* SPDX-License-Identifier: MIT */
/* Cancellation of threads is disabled while they are in a function of Coney's. Any thread. */
#include "base/base.h"

int cny_disable_cancel(void)
{
    int before;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    return before;
}

void cny_restore_cancel(const int *state)
{
    int ours;
    pthread_setcancelstate(*state, &ours);
}
