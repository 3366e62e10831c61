/* SPDX-License-Identifier: MIT */
/* What the tests of payloads share: messages as Spring sends them, and a handler that notes what it gets. */
#ifndef CNY_TEST_PAYLOADS_H
#define CNY_TEST_PAYLOADS_H

#include "support/listening.h"
#include "support/orders.h"

#define ORDER(id)                                                                                                      \
    "{\"id\":" #id ",\"state\":\"NEW\",\"customer\":{\"name\":\"Ann\"},\"lines\":[],"                                  \
    "\"placedAt\":\"2026-12-01T03:04:05Z\"}"
#define CUSTOMER "{\"name\":\"Bob\"}"

/* A test as listening_test(), without notes at first. */
#define payloads_test(function) cmocka_unit_test_setup_teardown(function, payloads_setup, listening_teardown)
int payloads_setup(void **state);
int payloads_teardown(void **state); /* of the group */

/* Handlers that note the payload, such as "order 7", "customer Ann", "2 orders", "JSON of 3" members, "text abc" or
 * "bytes abc"; the notes of two of them begin with "first: " and "second: ". All functions that give the payload are
 * checked against each other. */
coney_outcome payloads_take(coney_delivery *delivery, void *user);
coney_outcome payloads_take_first(coney_delivery *delivery, void *user);
coney_outcome payloads_take_second(coney_delivery *delivery, void *user);
coney_outcome payloads_note_as(const char *who, const coney_delivery *delivery);
void payloads_note(const char *who, const char *what);

/* Sends to the test's queue; with the headers __TypeId__, __ContentTypeId__ and __KeyTypeId__ that are not NULL.
 * Without a content type there are no headers. */
void payloads_send_as(const char *body, const char *content_type, const char *id, const char *content, const char *key);
void payloads_send_json(const char *body, const char *id);

/* Waits for a note; fails unless the oldest one, which is forgotten, has these words. */
void payloads_expect(const char *words);

/* Waits until a message is rejected and the log has these words; fails if there is a note. */
void payloads_expect_rejected(const char *words);

#endif
