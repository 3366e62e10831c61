/* SPDX-License-Identifier: MIT */
/* What Spring sends, kept as bytes. A file has, for each message, a line "message CASE INDEX", a line "properties HEX",
 * which is AMQP's content header from the property flags on, and a line "body HEX". */
#ifndef CNY_INTEROP_RECORD_H
#define CNY_INTEROP_RECORD_H

/* A test of cmocka whose state is the path: takes the messages of all cases from their queues and writes them there. */
void interop_record(void **state);

#endif
