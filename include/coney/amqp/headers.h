/* SPDX-License-Identifier: MIT */
/* The names of headers that RabbitMQ, Spring AMQP and Coney write, and the content types that Spring knows. (Spring:
 * the constants of MessageProperties, AbstractJavaTypeMapper and RepublishMessageRecoverer; of AmqpHeaders only
 * amqp_batchSize, because the other names are used inside one process and do not travel.)
 *
 * Anyone who may publish may send any header, so a header proves nothing by itself. */
#ifndef CONEY_AMQP_HEADERS_H
#define CONEY_AMQP_HEADERS_H

#include <coney/amqp/api.h> /* else a file that includes this header alone would be empty */

/* ---- content types ---- */

#define CONEY_CONTENT_TYPE_BYTES "application/octet-stream"
#define CONEY_CONTENT_TYPE_TEXT "text/plain"
#define CONEY_CONTENT_TYPE_JSON "application/json"
#define CONEY_CONTENT_TYPE_JSON_ALT "text/x-json"
#define CONEY_CONTENT_TYPE_XML "application/xml"
#define CONEY_CONTENT_TYPE_JAVA "application/x-java-serialized-object" /* Coney reads such a body as bytes. */

/* ---- Spring's type headers: strings ---- */

#define CONEY_HEADER_TYPE_ID "__TypeId__"                /* The class of the object. */
#define CONEY_HEADER_CONTENT_TYPE_ID "__ContentTypeId__" /* The class of the elements of a list or map. */
#define CONEY_HEADER_KEY_TYPE_ID "__KeyTypeId__"         /* The class of the keys of a map. */

/* ---- batches: see <coney/amqp/batch.h> ---- */

#define CONEY_HEADER_BATCH_FORMAT "springBatchFormat"
#define CONEY_BATCH_FORMAT_LENGTH_HEADER4 "lengthHeader4" /* The only format: the value of that header. */
#define CONEY_HEADER_BATCH_SIZE "amqp_batchSize"

/* ---- compression: see <coney/amqp/compression.h> ---- */

#define CONEY_HEADER_AUTO_DECOMPRESS "springAutoDecompress"

/* ---- delays: see coney_send_options.delay_ms and coney_message_received_delay_ms() ---- */

#define CONEY_HEADER_DELAY "x-delay"

/* ---- what the broker writes ---- */

#define CONEY_HEADER_DEATH "x-death" /* An array of tables: see <coney/amqp/death.h>. */
#define CONEY_HEADER_FIRST_DEATH_QUEUE "x-first-death-queue"
#define CONEY_HEADER_FIRST_DEATH_REASON "x-first-death-reason"
#define CONEY_HEADER_FIRST_DEATH_EXCHANGE "x-first-death-exchange"
#define CONEY_HEADER_LAST_DEATH_QUEUE "x-last-death-queue" /* These three: not by RabbitMQ 3.12 and older. */
#define CONEY_HEADER_LAST_DEATH_REASON "x-last-death-reason"
#define CONEY_HEADER_LAST_DEATH_EXCHANGE "x-last-death-exchange"

/* How often the message came back to a quorum queue. The second header, of RabbitMQ 4.3 and newer, also counts returns
 * that 4.3 does not take for failed deliveries. */
#define CONEY_HEADER_DELIVERY_COUNT "x-delivery-count"
#define CONEY_HEADER_ACQUIRED_COUNT "x-acquired-count"

#define CONEY_HEADER_STREAM_OFFSET "x-stream-offset" /* Of a stream's message; also an argument of its consumer. */

/* ---- what the broker reads ---- */

#define CONEY_HEADER_CC "CC"                                     /* Further routing keys: an array of strings. */
#define CONEY_HEADER_BCC "BCC"                                   /* The same, but the broker removes the header. */
#define CONEY_HEADER_STREAM_FILTER_VALUE "x-stream-filter-value" /* For a consumer that filters a stream. */

/* ---- messages that failed ---- */

/* How often a message was tried, by a program that counts itself: see coney_message_retry_count(). The ladder of a
 * listener writes the number of its rounds here. It believes the number only of a message that comes from the ladder's
 * queue of that round, which the broker's x-death proves. So a message that is forwarded, or moved back from the
 * parking queue, begins anew there. */
#define CONEY_HEADER_RETRY_COUNT "retry-count"

/* Why the message failed, and the exchange and routing key with which it was first received. Coney writes no stack
 * trace; Spring's RepublishMessageRecoverer does if it is told to. */
#define CONEY_HEADER_EXCEPTION_MESSAGE "x-exception-message"
#define CONEY_HEADER_EXCEPTION_STACKTRACE "x-exception-stacktrace"
#define CONEY_HEADER_ORIGINAL_EXCHANGE "x-original-exchange"
#define CONEY_HEADER_ORIGINAL_ROUTING_KEY "x-original-routingKey"

/* How many attempts the message had before this copy was published. Believed as CONEY_HEADER_RETRY_COUNT. */
#define CONEY_HEADER_ATTEMPTS "x-coney-attempts"

/* The headers of the sender that a copy lacks, because there was no room for them in a frame: a text such as
 * "1 header: NAME" or "12 headers: NAME, NAME and 10 more". The text has at most 300 bytes of names, and each name is
 * whole. */
#define CONEY_HEADER_LEFT_OUT "x-coney-left-out"

/* The quarantine queue that has ended the message: see coney_listener_retry.max_crashes. */
#define CONEY_HEADER_ENDED_BY "x-coney-ended-by"

/* ---- request and reply ---- */

/* How long the sender of a request waits for the reply, in milliseconds from the sending: a 64-bit integer. A server
 * counts from the arrival, because the clocks of two machines are not compared. */
#define CONEY_HEADER_TIMEOUT "x-coney-timeout-ms"

/* Boolean true: the reply tells that the request has failed; see <coney/amqp/remote_error.h>. */
#define CONEY_HEADER_ERROR "x-coney-error"

/* ---- what a RabbitTemplate writes to find the sender of a message that comes back; Coney needs none ---- */

#define CONEY_HEADER_RETURN_LISTENER "spring_listener_return_correlation"
#define CONEY_HEADER_RETURN_CORRELATION "spring_returned_message_correlation"
#define CONEY_HEADER_REQUEST_RETURN_CORRELATION "spring_request_return_correlation"

/* ---- tracing (W3C Trace Context) ---- */

#define CONEY_HEADER_TRACEPARENT "traceparent"
#define CONEY_HEADER_TRACESTATE "tracestate"

#endif
