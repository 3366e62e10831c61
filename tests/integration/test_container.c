/* SPDX-License-Identifier: MIT */
/* Listening on a real broker: dispatch, outcomes, start and stop. */
#include "support/test_support.h"

#include <pthread.h>
#include <unistd.h>

static const char *queue, *dead_queue;

/* The queue dead-letters into a second one, where rejected messages can be counted. */
static int setup(void **state)
{
    test_client_setup(state);
    queue = test_name("listen");
    dead_queue = test_name("listen.dead");
    test_make_queue(dead_queue);
    assert_ok(coney_admin_declare_queue(
        client.admin, &(coney_queue){.name = queue, .dead_letter_exchange = "", .dead_letter_routing_key = dead_queue},
        NULL));
    return 0;
}

static int teardown(void **state)
{
    test_delete_queue(queue);
    test_delete_queue(dead_queue);
    return test_client_teardown(state);
}

static int empty_queues(void **state)
{
    (void)state;
    assert_ok(coney_admin_purge_queue(client.admin, queue, NULL));
    assert_ok(coney_admin_purge_queue(client.admin, dead_queue, NULL));
    return 0;
}

typedef struct record {
    atomic_int handled;
    atomic_int redelivered;
    atomic_int proceed; /* handlers that wait go on when this is 1 */
    coney_container *container;
    coney_outcome outcome;
    coney_outcome later_outcome; /* for redelivered messages; 0: the same */
} record;

static coney_outcome handle(coney_delivery *delivery, void *user)
{
    record *seen = user;
    bool again = coney_message_redelivered(coney_delivery_message(delivery));
    check_text(coney_delivery_queue(delivery), queue);
    atomic_fetch_add(&seen->handled, 1);
    if (again)
        atomic_fetch_add(&seen->redelivered, 1);
    return again && seen->later_outcome ? seen->later_outcome : seen->outcome;
}

static coney_container *container_of(coney_message_handler *handler, void *user, const coney_converter *converter,
                                     int shutdown_timeout_ms)
{
    coney_container *container;
    const coney_container_options options = {
        .name = "tests", .workers = test_workers, .shutdown_timeout_ms = shutdown_timeout_ms};
    assert_ok(coney_container_new(&container, client.factory, &options));
    assert_ok(coney_container_listen(
        container, &(coney_listener){.queue = queue, .on_message = handler, .user = user, .converter = converter}));
    return container;
}

static void send_texts(int count)
{
    coney_message *message = test_text("text");
    for (int i = 0; i < count; i++)
        assert_ok(coney_template_send(client.sender, queue, message, NULL));
    coney_message_unref(message);
}

static void expect_all_gone(void)
{
    test_wait_for_depth(queue, 0);
    coney_queue_info info;
    assert_ok(coney_admin_queue_info(client.admin, queue, &info));
    assert_int_equal(info.consumer_count, 0);
}

static void test_ack_takes_the_message_off_the_queue(void **state)
{
    (void)state;
    record seen = {.outcome = CONEY_ACK};
    coney_container *container = container_of(handle, &seen, NULL, 0);
    assert_ok(coney_container_start(container));
    assert_ok(coney_container_check(container));
    send_texts(100);
    test_wait_for(&seen.handled, 100);
    coney_container_free(container);
    expect_all_gone();
    assert_int_equal(seen.redelivered, 0);
}

static void test_reject_goes_to_the_dead_letter_queue(void **state)
{
    (void)state;
    record seen = {.outcome = CONEY_REJECT};
    coney_container *container = container_of(handle, &seen, NULL, 0);
    assert_ok(coney_container_start(container));
    send_texts(5);
    test_wait_for(&seen.handled, 5);
    test_wait_for_depth(dead_queue, 5);
    coney_container_free(container);
    expect_all_gone();
}

static void expect_second_delivery(coney_outcome first)
{
    record seen = {.outcome = first, .later_outcome = CONEY_ACK};
    coney_container *container = container_of(handle, &seen, NULL, 0);
    assert_ok(coney_container_start(container));
    send_texts(3);
    test_wait_for(&seen.redelivered, 3);
    coney_container_free(container);
    assert_int_equal(seen.handled, 6);
    expect_all_gone();
}

static void test_requeue_and_retry_deliver_again(void **state)
{
    (void)state;
    expect_second_delivery(CONEY_REQUEUE);
    expect_second_delivery(CONEY_RETRY);
}

static void test_undefined_outcome_is_logged_and_loses_nothing(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_ERROR);
    expect_second_delivery((coney_outcome)42);
    test_log_expect("the handler returned 42, which is no coney_outcome");
    expect_second_delivery((coney_outcome)0);
    test_log_stop();
    test_log_start(CONEY_LOG_ERROR);
    expect_second_delivery((coney_outcome)INT32_MIN);
    test_log_expect("the handler returned 0, which is no coney_outcome");
    test_log_stop();
}

static coney_outcome take_json(coney_delivery *delivery, void *user)
{
    const json_t *payload = coney_delivery_payload(delivery);
    atomic_fetch_add((atomic_int *)user, (int)json_integer_value(json_object_get(payload, "n")));
    return CONEY_ACK;
}

static void test_payload_is_the_converted_body(void **state)
{
    (void)state;
    atomic_int sum = 0;
    coney_container *container = container_of(take_json, &sum, coney_json_converter(), 0);
    assert_ok(coney_container_start(container));
    for (int i = 1; i <= 4; i++) {
        json_t *json = json_pack("{s:i}", "n", i);
        assert_ok(coney_template_convert_and_send(client.sender, queue, json, NULL));
        json_decref(json);
    }
    test_wait_for(&sum, 10);
    coney_container_free(container);
}

static void test_unreadable_body_is_rejected_and_the_log_names_it(void **state)
{
    (void)state;
    atomic_int sum = 0;
    coney_message *broken;
    json_t *json = json_pack("{s:i}", "n", 1);
    assert_ok(coney_message_new(&broken, "{\"n\":", 5,
                                &(coney_properties){.content_type = "application/json", .message_id = "m-77"}));
    test_log_start(CONEY_LOG_ERROR);
    coney_container *container = container_of(take_json, &sum, coney_json_converter(), 0);
    assert_ok(coney_container_start(container));
    assert_ok(coney_template_send(client.sender, queue, broken, NULL));
    assert_ok(coney_template_convert_and_send(client.sender, queue, json, NULL));
    test_wait_for(&sum, 1);
    test_wait_for_depth(dead_queue, 1);
    test_log_expect(queue);
    test_log_expect("message 'm-77' is rejected");
    test_log_expect("invalid JSON at line 1, column 5");
    test_log_stop();
    coney_container_free(container);
    coney_message_unref(broken);
    json_decref(json);
}

static coney_outcome take_everything(coney_delivery *delivery, void *user)
{
    const coney_message *message = coney_delivery_message(delivery);
    const coney_properties *got = coney_message_properties(message);
    check_text(got->content_type, "a/b");
    check_text(got->content_encoding, "c");
    check_text(got->correlation_id, "d");
    check_text(got->reply_to, "e");
    check_text(got->expiration, "60000");
    check_text(got->message_id, "f");
    check_text(got->type, "g");
    check(!got->user_id);
    check_text(coney_message_received_user_id(message), "guest");
    check_text(got->app_id, "h");
    check(got->priority == 3);
    check(got->delivery_mode == CONEY_DELIVERY_DEFAULT);
    check(coney_message_received_delivery_mode(message) == CONEY_TRANSIENT);
    check(got->timestamp == 1700000000);
    check_text(coney_message_exchange(message), "");
    check_text(coney_message_routing_key(message), queue);
    check(coney_message_size(message) == 3);
    check(memcmp(coney_message_body(message), "\0\1\2", 3) == 0);

    const coney_table *headers = got->headers;
    for (int type = CONEY_VOID; type <= CONEY_TABLE; type++) {
        char name[] = {'t', (char)('a' + type), '\0'};
        check((int)coney_table_get(headers, name)->type == (type == CONEY_UINT8 ? CONEY_INT16 : type));
    }
    const coney_table *inner = coney_table_get(headers, "tq")->as.table;
    check_text(coney_table_get_string(inner, "in"), "deep");
    check(coney_array_at(coney_table_get(headers, "tp")->as.array, 0)->as.integer == INT64_MIN);
    check(coney_table_get(headers, "tj")->as.real == 0.5);
    check(coney_table_get(headers, "tl")->as.decimal.mantissa == -3);
    check(coney_table_get_int64(headers, "tc", 0) == -8);
    check(coney_table_get_int64(headers, "td", 0) == 255);
    check(coney_table_get_int64(headers, "th", 0) == UINT32_MAX);
    atomic_fetch_add((atomic_int *)user, 1);
    return CONEY_ACK;
}

/* A header of every type, named "t" and the type's letter. */
static coney_table *every_header(void)
{
    coney_table *inner = coney_table_new(), *headers = coney_table_new();
    coney_array *array = coney_array_new();
    coney_value lowest = coney_value_int64(INT64_MIN);
    assert_ok(coney_table_set_string(inner, "in", "deep"));
    assert_ok(coney_array_append(array, &lowest));
    const coney_value values[] = {
        {.type = CONEY_VOID},
        {.type = CONEY_BOOL, .as.boolean = true},
        {.type = CONEY_INT8, .as.integer = -8},
        {.type = CONEY_UINT8, .as.integer = 255},
        {.type = CONEY_INT16, .as.integer = -16},
        {.type = CONEY_UINT16, .as.integer = 65535},
        {.type = CONEY_INT32, .as.integer = -32},
        {.type = CONEY_UINT32, .as.integer = UINT32_MAX},
        {.type = CONEY_INT64, .as.integer = INT64_MAX},
        {.type = CONEY_FLOAT, .as.real = 0.5},
        {.type = CONEY_DOUBLE, .as.real = 0.25},
        {.type = CONEY_DECIMAL, .as.decimal = {.mantissa = -3, .scale = 1}},
        coney_value_string("text"),
        {.type = CONEY_BYTES, .as.bytes = {.data = "\0\xff", .size = 2}},
        {.type = CONEY_TIMESTAMP, .as.integer = 1700000000},
        {.type = CONEY_ARRAY, .as.array = array},
        {.type = CONEY_TABLE, .as.table = inner},
    };
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        char name[] = {'t', (char)('a' + (int)values[i].type), '\0'};
        assert_ok(coney_table_set(headers, name, &values[i]));
    }
    coney_table_free(inner);
    coney_array_free(array);
    return headers;
}

static void test_every_property_and_header_type_survives_the_journey(void **state)
{
    (void)state;
    coney_table *headers = every_header();
    const coney_properties properties = {
        .content_type = "a/b",
        .content_encoding = "c",
        .correlation_id = "d",
        .reply_to = "e",
        .expiration = "60000",
        .message_id = "f",
        .type = "g",
        .user_id = "guest",
        .app_id = "h",
        .priority = 3,
        .timestamp = 1700000000,
        .headers = headers,
        .delivery_mode = CONEY_TRANSIENT,
    };
    coney_message *message;
    atomic_int seen = 0;
    assert_ok(coney_message_new(&message, "\0\1\2", 3, &properties));
    coney_container *container = container_of(take_everything, &seen, NULL, 0);
    assert_ok(coney_container_start(container));
    assert_ok(coney_template_send(client.sender, queue, message, NULL));
    test_wait_for(&seen, 1);
    coney_container_free(container);
    coney_message_unref(message);
    coney_table_free(headers);
}

static coney_outcome take_pattern(coney_delivery *delivery, void *user)
{
    const coney_message *message = coney_delivery_message(delivery);
    if (!test_is_pattern(message))
        return CONEY_REJECT;
    atomic_fetch_add((atomic_int *)user, coney_message_size(message) > 0 ? 1 : 10);
    return CONEY_ACK;
}

static void test_large_and_empty_bodies_arrive_whole(void **state)
{
    (void)state;
    atomic_int seen = 0;
    coney_message *large = test_pattern((size_t)10 * 1024 * 1024), *empty = test_pattern(0);
    coney_container *container = container_of(take_pattern, &seen, NULL, 0);
    assert_ok(coney_container_start(container));
    assert_ok(coney_template_send(client.sender, queue, large, NULL));
    assert_ok(coney_template_send(client.sender, queue, empty, NULL));
    test_wait_for(&seen, 11);
    coney_container_free(container);
    coney_message_unref(large);
    coney_message_unref(empty);
}

static void test_missing_queue_that_is_fatal_is_named_and_nothing_is_left_running(void **state)
{
    (void)state;
    record seen = {.outcome = CONEY_ACK};
    coney_container *container = container_of(handle, &seen, NULL, 0);
    assert_ok(coney_container_listen(
        container, &(coney_listener){.queue = "no-such-queue", .on_message = handle, .missing_queue_is_fatal = true}));
    assert_fails(coney_container_start(container), CONEY_E_NOT_FOUND, "no-such-queue");
    assert_fails(coney_container_check(container), CONEY_E_STATE, "not running");
    send_texts(1);
    test_wait_for_depth(queue, 1);
    coney_container_free(container);
    assert_int_equal(seen.handled, 0);
}

static coney_outcome wait_for_permission(coney_delivery *delivery, void *user)
{
    (void)delivery;
    record *seen = user;
    atomic_fetch_add(&seen->handled, 1);
    while (!atomic_load(&seen->proceed))
        usleep(1000);
    return CONEY_ACK;
}

static void *stop_it(void *container)
{
    check(coney_container_stop(container) == CONEY_OK);
    return NULL;
}

static void test_stop_works_off_what_was_prefetched(void **state)
{
    (void)state;
    record seen = {.outcome = CONEY_ACK};
    coney_container *container = container_of(wait_for_permission, &seen, NULL, 8000);
    pthread_t stopper;
    send_texts(20);
    assert_ok(coney_container_start(container));
    test_wait_for(&seen.handled, 1);
    test_wait_for_depth(queue, 0); /* all twenty are prefetched */
    assert_int_equal(pthread_create(&stopper, NULL, stop_it, container), 0);
    seen.proceed = 1;
    pthread_join(stopper, NULL);
    assert_int_equal(seen.handled, 20);
    assert_ok(coney_container_stop(container)); /* again */
    coney_container_free(container);
    expect_all_gone();
}

static void test_stop_past_its_deadline_returns_the_rest(void **state)
{
    (void)state;
    record seen = {.outcome = CONEY_ACK};
    coney_container *container = container_of(wait_for_permission, &seen, NULL, 100);
    send_texts(5);
    assert_ok(coney_container_start(container));
    test_wait_for(&seen.handled, 1);
    assert_fails(coney_container_stop(container), CONEY_E_TIMEOUT, "have not returned within");
    test_wait_for_depth(queue, 5);
    seen.proceed = 1;
    while (coney_container_stop(container) != CONEY_OK) /* until the handler has returned */
        ;
    coney_container_free(container);
    assert_int_equal(seen.handled, 1);
}

static coney_outcome stop_from_inside(coney_delivery *delivery, void *user)
{
    (void)delivery;
    record *seen = user;
    check(coney_container_stop(seen->container) == CONEY_OK);
    atomic_fetch_add(&seen->handled, 1);
    return CONEY_ACK;
}

static void test_handler_may_stop_its_container(void **state)
{
    (void)state;
    record seen = {.outcome = CONEY_ACK};
    seen.container = container_of(stop_from_inside, &seen, NULL, 0);
    assert_ok(coney_container_start(seen.container));
    send_texts(1);
    test_wait_for(&seen.handled, 1);
    assert_ok(coney_container_stop(seen.container)); /* waits for the end of the first */
    coney_container_free(seen.container);
    expect_all_gone();
}

static void test_container_can_be_started_again(void **state)
{
    (void)state;
    record seen = {.outcome = CONEY_ACK};
    coney_container *container = container_of(handle, &seen, NULL, 0);
    for (int round = 1; round <= 5; round++) {
        assert_ok(coney_container_start(container));
        assert_fails(coney_container_start(container), CONEY_E_STATE, "container 'tests' is running");
        send_texts(10);
        test_wait_for(&seen.handled, round * 10);
        assert_ok(coney_container_stop(container));
    }
    coney_container_free(container);
    expect_all_gone();
}

typedef struct crowd {
    pthread_mutex_t lock;
    pthread_cond_t all_here;
    int here, wanted;
} crowd;

/* Returns only once so many handlers are inside at the same time. */
static coney_outcome meet(coney_delivery *delivery, void *user)
{
    (void)delivery;
    crowd *all = user;
    pthread_mutex_lock(&all->lock);
    all->here++;
    pthread_cond_broadcast(&all->all_here);
    while (all->here < all->wanted)
        pthread_cond_wait(&all->all_here, &all->lock);
    pthread_mutex_unlock(&all->lock);
    return CONEY_ACK;
}

static void test_concurrency_runs_that_many_handlers_at_once(void **state)
{
    (void)state;
    crowd all = {.lock = PTHREAD_MUTEX_INITIALIZER,
                 .all_here = PTHREAD_COND_INITIALIZER,
                 .wanted = test_workers ? test_workers : 4};
    coney_container *container;
    assert_ok(coney_container_new(&container, client.factory, &(coney_container_options){.workers = test_workers}));
    assert_ok(coney_container_listen(
        container,
        &(coney_listener){.queue = queue, .on_message = meet, .user = &all, .concurrency = 4, .prefetch = 1}));
    assert_ok(coney_container_start(container));
    coney_queue_info info;
    assert_ok(coney_admin_queue_info(client.admin, queue, &info));
    assert_int_equal(info.consumer_count, 4);
    send_texts(4);
    coney_container_free(container);
    assert_int_equal(all.here, 4);
    expect_all_gone();
}

static void test_deleted_queue_shows_in_check(void **state)
{
    (void)state;
    const char *doomed = test_name("doomed");
    record seen = {.outcome = CONEY_ACK};
    coney_container *container;
    test_make_queue(doomed);
    assert_ok(coney_container_new(&container, client.factory, &(coney_container_options){.workers = test_workers}));
    assert_ok(
        coney_container_listen(container, &(coney_listener){.queue = doomed, .on_message = handle, .user = &seen}));
    test_log_start(CONEY_LOG_WARN);
    assert_ok(coney_container_start(container));
    test_delete_queue(doomed);
    test_wait_until(coney_container_check(container) == CONEY_E_NOT_FOUND);
    assert_fails(coney_container_check(container), CONEY_E_NOT_FOUND, doomed);
    test_log_expect(doomed);
    test_log_stop();
    coney_container_free(container);
}

int main(void)
{
#define with_empty_queues(test) cmocka_unit_test_setup_teardown(test, empty_queues, test_no_failed_checks)
    const struct CMUnitTest tests[] = {
        with_empty_queues(test_ack_takes_the_message_off_the_queue),
        with_empty_queues(test_reject_goes_to_the_dead_letter_queue),
        with_empty_queues(test_requeue_and_retry_deliver_again),
        with_empty_queues(test_undefined_outcome_is_logged_and_loses_nothing),
        with_empty_queues(test_payload_is_the_converted_body),
        with_empty_queues(test_unreadable_body_is_rejected_and_the_log_names_it),
        with_empty_queues(test_every_property_and_header_type_survives_the_journey),
        with_empty_queues(test_large_and_empty_bodies_arrive_whole),
        with_empty_queues(test_missing_queue_that_is_fatal_is_named_and_nothing_is_left_running),
        with_empty_queues(test_stop_works_off_what_was_prefetched),
        with_empty_queues(test_stop_past_its_deadline_returns_the_rest),
        with_empty_queues(test_handler_may_stop_its_container),
        with_empty_queues(test_container_can_be_started_again),
        with_empty_queues(test_concurrency_runs_that_many_handlers_at_once),
        with_empty_queues(test_deleted_queue_shows_in_check),
    };
    return test_run_with_workers("container", tests, setup, teardown);
}
