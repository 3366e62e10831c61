/* SPDX-License-Identifier: MIT */
/* Coney: messaging with RabbitMQ. Most programs include only this header.
 *
 * pthread_cancel() does not act during a call of Coney, but at the thread's next cancellation point after the call.
 * Coney's own threads cannot be cancelled, and a handler or callback must not end its thread with pthread_exit(). More
 * about threads is in docs/threading.md. */
#ifndef CONEY_H
#define CONEY_H

#include <coney/amqp/address.h>
#include <coney/amqp/batch.h>
#include <coney/amqp/compression.h>
#include <coney/amqp/content.h>
#include <coney/amqp/converter.h>
#include <coney/amqp/death.h>
#include <coney/amqp/exchange.h>
#include <coney/amqp/headers.h>
#include <coney/amqp/inventory.h>
#include <coney/amqp/json.h>
#include <coney/amqp/log.h>
#include <coney/amqp/message.h>
#include <coney/amqp/processor.h>
#include <coney/amqp/queue.h>
#include <coney/amqp/remote_error.h>
#include <coney/amqp/status.h>
#include <coney/amqp/table_json.h>
#include <coney/amqp/topology.h>
#include <coney/amqp/topology_file.h>
#include <coney/amqp/topology_picture.h>
#include <coney/amqp/type.h>
#include <coney/amqp/value.h>
#include <coney/amqp/version.h>
#include <coney/rabbit/admin.h>
#include <coney/rabbit/batching_template.h>
#include <coney/rabbit/confirmation.h>
#include <coney/rabbit/connection_factory.h>
#include <coney/rabbit/container.h>
#include <coney/rabbit/container_state.h>
#include <coney/rabbit/declaration.h>
#include <coney/rabbit/delivery.h>
#include <coney/rabbit/listener.h>
#include <coney/rabbit/plan.h>
#include <coney/rabbit/receive.h>
#include <coney/rabbit/request.h>
#include <coney/rabbit/retry.h>
#include <coney/rabbit/rpc_options.h>
#include <coney/rabbit/scope.h>
#include <coney/rabbit/statistics.h>
#include <coney/rabbit/template.h>
#include <coney/rabbit/typed.h>

#endif
