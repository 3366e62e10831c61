/* SPDX-License-Identifier: MIT */
/* For tests of listening on a real broker: one container, one queue and one handler, that setup makes ready and
 * teardown ends whatever the test left behind; and a record of what containers tell. All of it is static, so that a
 * test that fails half way leaves nothing behind that a late handler could miss. */
#ifndef CNY_TEST_CONTAINER_FIXTURE_H
#define CNY_TEST_CONTAINER_FIXTURE_H

#include "support/test_support.h"

/* ---- the handler ---- */

typedef struct test_handler {
    atomic_int calls;
    atomic_int inside;
    atomic_int holds;   /* while this is 1 it does not return */
    atomic_int outcome; /* 0: CONEY_ACK */
    atomic_int redelivered;
} test_handler;

/* user is a test_handler. */
coney_outcome test_handle(coney_delivery *delivery, void *user);

/* ---- the container ---- */

typedef struct test_listening {
    coney_container *container;
    char queue[256]; /* made by the setup, empty */
    char other[300]; /* a name for another one, that does not exist; deleted if it does in the end */
    test_handler handler;
} test_listening;

extern test_listening here;

/* Within a group with test_client_setup(). The teardown fails for a failed check(), too. Coney logs nothing, for most
 * of these tests would make it complain, unless CONEY_TEST_LOG is in the environment. */
int test_listening_setup(void **state);
int test_listening_teardown(void **state);

/* Makes here.container; options may be NULL. It has test_workers workers, and its events are recorded, unless
 * the options have a callback. */
void test_use_container(const coney_container_options *options);

/* Registers a listener, with here.queue and here.handler where it has none. */
void test_listen(const coney_listener *listener);

/* Both, with defaults, and the start. */
void test_start(void);

/* Sends so many texts, numbered from 0. */
void test_send(const char *queue, int count);

int test_consumers_at_broker(const char *queue);
coney_health test_health(void);
coney_listener_statistics test_statistics(const char *id); /* NULL: here.queue */

/* A second thread stops here.container; the end is its status. One at a time. */
void test_stop_in_background(coney_stop_mode mode, int timeout_ms);
bool test_background_is_over(void);
coney_status test_background_end(void);

/* The broker forgets every connection of this process. */
void test_kill_connections(void);
void test_rabbitmqctl(const char *command);

/* ---- what containers tell ---- */

typedef struct test_event {
    coney_container_event_kind kind;
    coney_status status;
    int broker_code;
    bool fatal;
    int64_t duration_ms;
    int64_t at_ms;
    char container[64], listener_id[300], queue[300], consumer_tag[256], text[1024];
} test_event;

extern coney_connection_factory *test_events_factory; /* whose containers tell; NULL: client.factory */
void test_record_event(const coney_container_event *event, void *user);
void test_forget_events(void); /* the setup does */
int test_count_events(coney_container_event_kind kind);
void test_wait_for_events(coney_container_event_kind kind, int count); /* at least so many */
test_event test_event_at(coney_container_event_kind kind, int index);  /* the oldest is 0; fails if there is none */
int test_event_place(coney_container_event_kind kind);                 /* of the first one, among all; -1: none */

#endif
