/* SPDX-License-Identifier: MIT */
/* The queues that payment and the services share, and what their messages say. */
#ifndef SAMPLE_RPC_NAMES_H
#define SAMPLE_RPC_NAMES_H

#define PAID "sample.rpc.paid"        /* an exchange: a payment was made; "NUMBER TIME_MS" */
#define REQUESTS "sample.rpc.%s"      /* of a service: asks and waits */
#define EVENTS "sample.rpc.%s.events" /* of a service: bound to PAID */
#define DONE "sample.rpc.done"        /* a service has done its part of a payment; "SERVICE NUMBER TIME_MS" */

#endif
