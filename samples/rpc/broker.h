/* SPDX-License-Identifier: MIT */
/* The connection factory of payment, and the queues of the sample. */
#ifndef SAMPLE_RPC_BROKER_H
#define SAMPLE_RPC_BROKER_H

#include <coney/coney.h>

/* Makes the factory and empty queues, whatever an earlier run has left there. False: coney_last_error() tells why. */
bool broker_open(coney_connection_factory **factory, const char *uri);

/* Waits until both services consume. False with a line on stderr. */
bool broker_wait_for_services(void);

/* Deletes the queues and frees the factory, after everything else that uses it. */
void broker_close(coney_connection_factory *factory);

#endif
