/* SPDX-License-Identifier: MIT */
/* Settlements on the wire. Private to this folder; all under the lock of the connection, on any thread. */
#ifndef CNY_CONNECTION_SETTLING_H
#define CNY_CONNECTION_SETTLING_H

#include "rabbit/connection/consumers.h"

/* Deliveries that are not settled on the wire, as the broker counts them. Owned by settling.c, but for what the next
 * two functions do. */
typedef struct cny_credit {
    size_t present;       /* of the present consumer, */
    size_t earlier;       /* and of those that it has followed */
    uint64_t began_after; /* the last delivery of those */
} cny_credit;

static inline void cny_credit_use(cny_credit *credit) /* by one delivery */
{
    credit->present++;
}

static inline void cny_credit_begin_anew(cny_credit *credit, uint64_t last_tag) /* for another consumer */
{
    credit->began_after = last_tag;
    credit->earlier += credit->present;
    credit->present = 0;
}

static inline size_t cny_lower(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* So many deliveries. CONEY_E_NO_MEMORY. */
coney_status cny_settlement_write(cny_channel *channel, uint64_t tag, cny_settlement settlement, size_t count);

#endif
