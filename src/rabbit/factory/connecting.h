/* SPDX-License-Identifier: MIT */
/* Connections that a factory owns. For the recovery thread, under the factory's lock. */
#ifndef CNY_FACTORY_CONNECTING_H
#define CNY_FACTORY_CONNECTING_H

#include "rabbit/factory/factory.h"

/* What the program's provider answers; without the lock while it runs. Without a provider nothing is filled in. */
coney_status cny_factory_ask_for_credentials(coney_connection_factory *factory, coney_credentials *credentials);

/* Begins to connect. Of the parts, the role and the hosts are the caller's to fill in. */
coney_status cny_factory_begin_to_connect(coney_connection_factory *factory, cny_connection **connection,
                                          cny_connection_parts parts, const coney_credentials *credentials);

#endif
