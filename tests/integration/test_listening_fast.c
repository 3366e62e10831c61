/* SPDX-License-Identifier: MIT */
/* A listener that acknowledges nothing, and a broker that is faster than its handler. */
#include "support/listening.h"

#include <stdio.h>
#include <unistd.h>

enum { MESSAGES = 20000, BODY_BYTES = 4096 }; /* some 90 MB with all that goes with them; a client holds 16 MiB */
enum { RICH = 4000, ENTRIES = 9990 };         /* whose headers take 10 kB at the broker and 320 kB here */

static atomic_int let_go, handled;

static coney_outcome wait_then_count(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    while (!atomic_load(&let_go))
        usleep(1000);
    atomic_fetch_add(&handled, 1);
    return CONEY_ACK;
}

static void fill_queue_with(coney_message *message, int count)
{
    for (int i = 0; i < count; i++)
        assert_ok(coney_template_send_async(client.sender, listening.queue, message, NULL, NULL, NULL));
    assert_ok(coney_template_wait_for_confirms(client.sender, 60000));
    coney_message_unref(message);
}

static void fill_queue(void)
{
    fill_queue_with(test_pattern(BODY_BYTES), MESSAGES);
}

static void fill_queue_with_rich_headers(void)
{
    coney_message *message;
    coney_array *voids = coney_array_new();
    coney_table *headers = coney_table_new();
    for (int i = 0; i < ENTRIES; i++)
        assert_ok(coney_array_append(voids, &(coney_value){.type = CONEY_VOID}));
    assert_ok(coney_table_set_array(headers, "voids", voids));
    assert_ok(coney_message_new(&message, "x", 1, &(coney_properties){.headers = headers}));
    coney_table_free(headers);
    coney_array_free(voids);
    fill_queue_with(message, RICH);
}

/* How many are left at the broker when it can send no more: for half a second there are not fewer. Sockets hold some,
 * too, Docker's most. The consuming connection is of no use for asking: it is what waits. */
static uint32_t wait_until_held(void)
{
    coney_connection_factory *other;
    coney_admin *admin;
    coney_queue_info info = {0};
    uint32_t before;
    assert_ok(coney_connection_factory_new(&other, test_uri(), NULL));
    assert_ok(coney_admin_new(&admin, other, NULL));
    do {
        before = info.message_count;
        usleep(500000);
        assert_ok(coney_admin_queue_info(admin, listening.queue, &info));
    } while (info.message_count != before);
    coney_admin_free(admin);
    coney_connection_factory_free(other);
    return info.message_count;
}

/* Each costs the broker and a sanitizer a while, so there is no telling how long all of them take. */
static void wait_as_long_as_they_come(int count)
{
    for (int before = -1; atomic_load(&handled) > before && before < count;) {
        before = atomic_load(&handled);
        for (int i = 0; i < 1000 && atomic_load(&handled) == before && before < count; i++)
            usleep(10000);
    }
    assert_int_equal(atomic_load(&handled), count);
}

/* Nothing else bounds it: there is no prefetch without acknowledgements. */
static void test_messages_nobody_takes_stay_at_the_broker(void **state)
{
    (void)state;
    atomic_store(&let_go, 0);
    atomic_store(&handled, 0);
    fill_queue();
    listening_start(&(coney_listener){.on_message = wait_then_count, .acknowledge = CONEY_ACKNOWLEDGE_NONE});
    assert_int_in_range(wait_until_held(), MESSAGES / 10, MESSAGES);
    atomic_store(&let_go, 1);
    test_wait_for(&handled, MESSAGES);
    test_wait_for_depth(listening.queue, 0);
}

/* Their bodies have one byte each: what counts is what the messages hold. */
static void test_messages_with_rich_headers_stay_at_the_broker(void **state)
{
    (void)state;
    atomic_store(&let_go, 0);
    atomic_store(&handled, 0);
    fill_queue_with_rich_headers();
    listening_start(&(coney_listener){.on_message = wait_then_count, .acknowledge = CONEY_ACKNOWLEDGE_NONE});
    assert_int_in_range(wait_until_held(), RICH / 10, RICH);
    atomic_store(&let_go, 1);
    wait_as_long_as_they_come(RICH);
}

/* More than it may hold before any handler runs, registered first: the others' answers must not wait behind it. */
static void test_start_is_not_held_up_by_what_waits_for_it(void **state)
{
    (void)state;
    enum { OTHERS = 10 }; /* to be declared one after another, which takes a while */
    coney_queue others[OTHERS] = {0};
    atomic_store(&let_go, 1);
    atomic_store(&handled, 0);
    fill_queue();
    assert_ok(coney_container_new(&listening.container, client.factory, NULL));
    assert_ok(coney_container_listen(listening.container, &(coney_listener){.queue = listening.queue,
                                                                            .on_message = wait_then_count,
                                                                            .acknowledge = CONEY_ACKNOWLEDGE_NONE}));
    for (int i = 0; i < OTHERS; i++) {
        char suffix[16];
        snprintf(suffix, sizeof suffix, "%d", i);
        others[i].name = listening_other_queue(suffix);
        assert_ok(coney_container_listen(
            listening.container,
            &(coney_listener){.queue = others[i].name, .declare = &others[i], .on_message = listening_obey}));
    }
    assert_ok(coney_container_start(listening.container));
    test_wait_for(&handled, MESSAGES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        listening_test(test_messages_nobody_takes_stay_at_the_broker),
        listening_test(test_messages_with_rich_headers_stay_at_the_broker),
        listening_test(test_start_is_not_held_up_by_what_waits_for_it),
    };
    return cmocka_run_group_tests_name("faster than its handler", tests, test_client_setup, test_client_teardown);
}
