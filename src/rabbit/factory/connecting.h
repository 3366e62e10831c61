/* SPDX-License-Identifier: MIT */
/* Connections that a factory owns. For the recovery thread, with the factory's lock held. */
#ifndef CNY_FACTORY_CONNECTING_H
#define CNY_FACTORY_CONNECTING_H

#include "rabbit/factory/factory.h"

/* Asks the program's provider, without the lock. Fills in nothing if there is no provider. The provider's status. */
coney_status cny_factory_ask_for_credentials(coney_connection_factory *factory, coney_credentials *credentials);

/* Begins to connect. The caller fills in role, hosts and is_isolated of the parts, this function the rest. */
coney_status cny_factory_begin_to_connect(coney_connection_factory *factory, cny_connection **connection,
                                          cny_connection_parts parts, const coney_credentials *credentials);

#endif
