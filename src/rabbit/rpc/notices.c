/* SPDX-License-Identifier: MIT */
/* Counts what the events thread has yet to tell of late replies and circuits, so that a slow program does not fill
 * memory, and hears nothing after its template is closed. Any thread. Knows nothing of what is told. */
#include "rabbit/rpc/parts.h"

enum { MOST_NOTICES = 1000 };

bool cny_notice_begins(cny_rpc *rpc)
{
    cny_rpc_lock(rpc);
    bool is_told = rpc->notices < MOST_NOTICES && !rpc->is_closed;
    rpc->notices += is_told;
    cny_rpc_unlock(rpc);
    return is_told;
}

void cny_notice_ends(cny_rpc *rpc)
{
    cny_rpc_lock(rpc);
    rpc->notices--;
    pthread_cond_broadcast(&rpc->changed);
    cny_rpc_unlock(rpc);
}
