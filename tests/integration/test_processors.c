/* SPDX-License-Identifier: MIT */
/* Processors of templates and containers, and what sends set by themselves, on a real broker. */
#include "rabbit/template/processors.h"
#include "support/test_support.h"

static const char *queue, *dead_queue;

static int setup(void **state)
{
    test_client_setup(state);
    queue = test_name("processors");
    dead_queue = test_name("processors.dead");
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

static coney_template *sender;
static coney_container *container;

static int empty_queues(void **state)
{
    coney_container_free(container);
    coney_template_free(sender);
    container = NULL;
    sender = NULL;
    assert_ok(coney_admin_purge_queue(client.admin, queue, NULL));
    assert_ok(coney_admin_purge_queue(client.admin, dead_queue, NULL));
    return test_no_failed_checks(state);
}

static void use_template(const coney_template_options *options)
{
    assert_ok(coney_template_new(&sender, client.factory, options));
}

/* ---- receiving ---- */

static atomic_int handled;
static coney_message *received; /* the last one */

static coney_outcome keep(coney_delivery *delivery, void *user)
{
    (void)user;
    coney_message_unref(received);
    received = coney_message_ref(coney_delivery_message(delivery));
    atomic_fetch_add(&handled, 1);
    return CONEY_ACK;
}

static void make_container(const coney_converter *converter)
{
    atomic_store(&handled, 0);
    assert_ok(coney_container_new(&container, client.factory, &(coney_container_options){.workers = test_workers}));
    assert_ok(coney_container_listen(container,
                                     &(coney_listener){.queue = queue, .on_message = keep, .converter = converter}));
}

static void receive(int count)
{
    if (!container)
        make_container(NULL);
    assert_ok(coney_container_start(container));
    test_wait_for(&handled, count);
    assert_ok(coney_container_stop(container));
}

static void send_text(const char *text, const coney_send_options *options)
{
    coney_message *message = test_text(text);
    assert_ok(coney_template_send(sender, queue, message, options));
    coney_message_unref(message);
}

static void expect_header(const char *name, int64_t number)
{
    assert_int_equal(coney_table_get_int64(coney_message_properties(received)->headers, name, -1), number);
}

/* ---- before publish ---- */

static coney_status stamp(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    const coney_value value = coney_value_int64(*(int *)user);
    check_text(exchange, "");
    check_text(routing_key, queue);
    return coney_message_with_header(message, *message, "stamp", &value);
}

static void test_processors_change_what_is_sent_and_stop_when_removed(void **state)
{
    (void)state;
    int first = 1, second = 2;
    use_template(NULL);
    assert_ok(coney_template_add_before_publish(
        sender, &(coney_processor){.name = "b", .process = stamp, .user = &second, .order = 1}));
    assert_ok(
        coney_template_add_before_publish(sender, &(coney_processor){.name = "a", .process = stamp, .user = &first}));
    send_text("both", NULL);
    receive(1);
    expect_header("stamp", 2);
    assert_ok(coney_template_remove_before_publish(sender, "b"));
    send_text("one", NULL);
    receive(2);
    expect_header("stamp", 1);
    assert_ok(coney_template_remove_before_publish(sender, "a"));
    send_text("none", NULL);
    receive(3);
    expect_header("stamp", -1);
    assert_fails(coney_template_remove_before_publish(sender, "a"), CONEY_E_INVALID, "no processor 'a'");
}

static coney_status refuse(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)message;
    (void)exchange;
    (void)routing_key;
    (void)user;
    return coney_conversion_failed("not today");
}

static coney_status discard(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)exchange;
    (void)routing_key;
    (void)user;
    if (strcmp(coney_message_body(*message), "discard") == 0)
        *message = NULL;
    return CONEY_OK;
}

static void test_processor_that_fails_ends_the_send_and_nothing_is_sent(void **state)
{
    (void)state;
    coney_message *message = test_text("discard");
    use_template(NULL);
    assert_ok(coney_template_add_before_publish(sender, &(coney_processor){.name = "picky", .process = refuse}));
    assert_fails(coney_template_send(sender, queue, message, NULL), CONEY_E_CONVERSION, "'picky': not today");
    assert_fails(coney_template_send_async(sender, queue, message, NULL, NULL, NULL), CONEY_E_CONVERSION, "not today");
    assert_ok(coney_template_remove_before_publish(sender, "picky"));
    assert_ok(coney_template_add_before_publish(sender, &(coney_processor){.name = "none", .process = discard}));
    assert_fails(coney_template_send(sender, queue, message, NULL), CONEY_E_INVALID, "discarded the message");
    test_wait_for_depth(queue, 0);
    coney_message_unref(message);
}

static void test_message_id_and_timestamp_are_set(void **state)
{
    (void)state;
    const coney_processor id = coney_message_id_processor(), timestamp = coney_timestamp_processor();
    use_template(NULL);
    assert_ok(coney_template_add_before_publish(sender, &id));
    assert_ok(coney_template_add_before_publish(sender, &timestamp));
    send_text("x", NULL);
    receive(1);
    assert_int_equal(strlen(coney_message_properties(received)->message_id), 36);
    assert_true(coney_message_properties(received)->timestamp > 1700000000);
}

static void test_option_creates_message_ids_for_messages_without_one(void **state)
{
    (void)state;
    coney_message *message;
    const coney_processor id = coney_message_id_processor();
    use_template(&(coney_template_options){.create_message_ids = true});
    send_text("x", NULL);
    receive(1);
    assert_int_equal(strlen(coney_message_properties(received)->message_id), 36);
    assert_ok(coney_message_new(&message, "x", 1, &(coney_properties){.message_id = "own"}));
    assert_ok(coney_template_send(sender, queue, message, NULL));
    coney_message_unref(message);
    receive(2);
    assert_string_equal(coney_message_properties(received)->message_id, "own");
    assert_fails(coney_template_add_before_publish(sender, &id), CONEY_E_INVALID, "there is a processor 'message-id'");
    assert_ok(coney_template_remove_before_publish(sender, "message-id"));
}

static void test_template_creates_no_message_ids_by_default(void **state)
{
    (void)state;
    use_template(NULL);
    send_text("x", NULL);
    receive(1);
    assert_null(coney_message_properties(received)->message_id);
}

static void test_wrong_arguments_are_named(void **state)
{
    (void)state;
    const coney_processor processor = {.name = "p", .process = refuse};
    use_template(NULL);
    make_container(NULL);
    assert_fails(coney_template_add_before_publish(NULL, &processor), CONEY_E_INVALID, "sender");
    assert_fails(coney_template_add_after_receive(sender, NULL), CONEY_E_INVALID, "processor");
    assert_fails(coney_template_remove_after_receive(sender, "p"), CONEY_E_INVALID, "template: there is no");
    assert_fails(coney_template_remove_after_receive(NULL, "p"), CONEY_E_INVALID, "NULL");
    assert_fails(coney_container_add_after_receive(container, NULL), CONEY_E_INVALID, "NULL");
    assert_fails(coney_container_remove_after_receive(container, "p"), CONEY_E_INVALID, "container 'container'");
    assert_fails(coney_container_remove_after_receive(NULL, "p"), CONEY_E_INVALID, "NULL");
}

/* ---- after receive ---- */

static coney_status uppercase(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)user;
    check_text(exchange, "");
    check_text(routing_key, queue);
    char text[32] = "";
    size_t size = coney_message_size(*message);
    for (size_t i = 0; i < size && i < sizeof text; i++)
        text[i] = (char)(((const char *)coney_message_body(*message))[i] - 'a' + 'A');
    return coney_message_with(message, *message, NULL, text, size);
}

static void test_container_hands_on_what_processors_left(void **state)
{
    (void)state;
    use_template(NULL);
    make_container(coney_text_converter());
    assert_ok(coney_container_add_after_receive(container, &(coney_processor){.name = "upper", .process = uppercase}));
    send_text("text", NULL);
    receive(1);
    assert_string_equal(coney_message_body(received), "TEXT");
    test_wait_for_depth(queue, 0);
    assert_ok(coney_container_remove_after_receive(container, "upper"));
    send_text("text", NULL);
    receive(2);
    assert_string_equal(coney_message_body(received), "text");
}

static coney_status without_memory_once(coney_message **message, const char *exchange, const char *routing_key,
                                        void *user)
{
    (void)exchange;
    (void)routing_key;
    (void)user;
    return coney_message_redelivered(*message) ? CONEY_OK : CONEY_E_NO_MEMORY;
}

static void test_message_that_finds_no_memory_goes_back(void **state)
{
    (void)state;
    use_template(NULL);
    make_container(NULL);
    assert_ok(coney_container_add_after_receive(
        container, &(coney_processor){.name = "forgetful", .process = without_memory_once}));
    send_text("text", NULL);
    receive(1);
    assert_true(coney_message_redelivered(received));
    test_wait_for_depth(dead_queue, 0);
}

static coney_status without_memory_four_times(coney_message **message, const char *exchange, const char *routing_key,
                                              void *user)
{
    (void)message;
    (void)exchange;
    (void)routing_key;
    return atomic_fetch_add((atomic_int *)user, 1) < 4 ? CONEY_E_NO_MEMORY : CONEY_OK;
}

/* It waits 100, 200 and 400 ms when it comes again. */
static void test_message_that_finds_no_memory_again_and_again_does_not_go_round_at_full_speed(void **state)
{
    (void)state;
    atomic_int calls = 0;
    use_template(NULL);
    make_container(NULL);
    assert_ok(coney_container_add_after_receive(
        container, &(coney_processor){.name = "forgetful", .process = without_memory_four_times, .user = &calls}));
    send_text("text", NULL);
    int64_t began = cny_now_ms();
    receive(1);
    assert_true(cny_now_ms() - began >= 100 + 200 + 400);
    assert_int_equal(calls, 5);
}

static coney_status stop_container(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)message;
    (void)exchange;
    (void)routing_key;
    (void)user;
    check(coney_container_stop(container) == CONEY_OK);
    return CONEY_OK;
}

static void test_processor_may_stop_its_container(void **state)
{
    (void)state;
    use_template(NULL);
    make_container(NULL);
    assert_ok(coney_container_add_after_receive(container, &(coney_processor){.name = "s", .process = stop_container}));
    send_text("text", NULL);
    receive(1);
    test_wait_for_depth(queue, 0);
}

/* The exchange that the second one sees was part of the message that the first one replaced. */
static void test_template_runs_its_processors_on_what_it_receives(void **state)
{
    (void)state;
    use_template(NULL);
    assert_ok(coney_template_add_after_receive(sender, &(coney_processor){.name = "upper", .process = uppercase}));
    assert_ok(coney_template_add_after_receive(sender, &(coney_processor){.name = "again", .process = uppercase}));
    coney_message *message = test_text("text");
    message->routing_key = cny_arena_copy(&message->arena, queue, strlen(queue)); /* as of a received one */
    assert_ok(cny_template_process_received(sender, &message));
    assert_int_equal(coney_message_size(message), 4);
    assert_string_equal(coney_message_routing_key(message), queue);
    coney_message_unref(message);
    assert_ok(coney_template_remove_after_receive(sender, "again"));
    assert_ok(coney_template_remove_after_receive(sender, "upper"));
    assert_ok(coney_template_add_after_receive(sender, &(coney_processor){.name = "d", .process = discard}));
    message = test_text("discard");
    assert_ok(cny_template_process_received(sender, &message));
    assert_null(message);
}

static void test_discarded_message_is_acknowledged_and_not_handled(void **state)
{
    (void)state;
    use_template(NULL);
    make_container(NULL);
    assert_ok(coney_container_add_after_receive(container, &(coney_processor){.name = "d", .process = discard}));
    send_text("discard", NULL);
    send_text("other", NULL);
    receive(1);
    assert_string_equal(coney_message_body(received), "other");
    test_wait_for_depth(queue, 0);
    test_wait_for_depth(dead_queue, 0);
}

static void test_message_that_a_processor_fails_for_is_rejected(void **state)
{
    (void)state;
    use_template(NULL);
    make_container(NULL);
    test_log_start(CONEY_LOG_ERROR);
    assert_ok(coney_container_add_after_receive(container, &(coney_processor){.name = "picky", .process = refuse}));
    send_text("text", NULL);
    assert_ok(coney_container_start(container));
    test_wait_for_depth(dead_queue, 1);
    assert_ok(coney_container_stop(container));
    assert_int_equal(handled, 0);
    test_log_expect("processor 'picky': not today");
    test_log_stop();
}

/* ---- compression ---- */

static void test_compressed_message_is_smaller_on_its_way_and_arrives_as_it_was(void **state)
{
    (void)state;
    coney_processor compress, decompress;
    coney_message *message = test_pattern(100000);
    use_template(NULL);
    make_container(NULL);
    assert_ok(coney_compress_processor(&compress, NULL));
    assert_ok(coney_decompress_processor(&decompress, NULL));
    assert_ok(coney_template_add_before_publish(sender, &compress));
    assert_ok(coney_template_send(sender, queue, message, NULL));
    receive(1);
    assert_string_equal(coney_message_properties(received)->content_encoding, "gzip");
    assert_true(coney_message_size(received) < 100000);
    assert_ok(coney_container_add_after_receive(container, &decompress));
    assert_ok(coney_template_send(sender, queue, message, NULL));
    receive(2);
    assert_null(coney_message_properties(received)->content_encoding);
    assert_true(test_is_pattern(received));
    coney_message_unref(message);
}

/* ---- what a send sets ---- */

/* Spring 2.4 ignores a delay that is a 64-bit integer. */
static void test_delay_is_a_32_bit_integer_if_it_fits(void **state)
{
    (void)state;
    use_template(NULL);
    send_text("later", &(coney_send_options){.delay_ms = 1500});
    receive(1);
    assert_int_equal(coney_message_header(received, "x-delay")->type, CONEY_INT32);
    expect_header("x-delay", 1500);
    send_text("later", &(coney_send_options){.delay_ms = INT32_MAX});
    receive(2);
    assert_int_equal(coney_message_header(received, "x-delay")->type, CONEY_INT32);
    expect_header("x-delay", INT32_MAX);
    send_text("late", &(coney_send_options){.delay_ms = (int64_t)INT32_MAX + 1});
    receive(3);
    assert_int_equal(coney_message_header(received, "x-delay")->type, CONEY_INT64);
    expect_header("x-delay", (int64_t)INT32_MAX + 1);
}

static void test_without_a_delay_there_is_no_header(void **state)
{
    (void)state;
    use_template(NULL);
    send_text("now", NULL);
    receive(1);
    expect_header("x-delay", -1);
}

/* The program's own header is its own affair. */
static void test_delay_that_the_program_sets_as_a_header_keeps_its_type(void **state)
{
    (void)state;
    coney_message *message = test_text("x"), *delayed;
    const coney_value delay = coney_value_int64(1500);
    assert_ok(coney_message_with_header(&delayed, message, "x-delay", &delay));
    use_template(NULL);
    assert_ok(coney_template_send(sender, queue, delayed, NULL));
    receive(1);
    assert_int_equal(coney_message_header(received, "x-delay")->type, CONEY_INT64);
    coney_message_unref(delayed);
    coney_message_unref(message);
}

static void test_wrong_delays_are_refused(void **state)
{
    (void)state;
    coney_message *message = test_text("x");
    use_template(NULL);
    assert_fails(coney_template_send(sender, queue, message, &(coney_send_options){.delay_ms = -1}), CONEY_E_INVALID,
                 "delay_ms is -1");
    assert_fails(coney_template_send(sender, queue, message, &(coney_send_options){.delay_ms = 0x100000000}),
                 CONEY_E_INVALID, "delay_ms is 4294967296");
    coney_message_unref(message);
}

static void test_user_id_is_set_if_the_message_has_none(void **state)
{
    (void)state;
    coney_message *own;
    assert_ok(coney_message_new(&own, "", 0, &(coney_properties){.user_id = "somebody"}));
    use_template(&(coney_template_options){.user_id = "guest"});
    send_text("x", NULL);
    receive(1);
    assert_string_equal(coney_message_received_user_id(received), "guest");
    assert_fails(coney_template_send(sender, queue, own, NULL), CONEY_E_PRECONDITION_FAILED, "user_id");
    coney_message_unref(own);
}

static void test_empty_exchange_and_routing_key_are_values(void **state)
{
    (void)state;
    coney_message *message = test_text("x");
    use_template(&(coney_template_options){.exchange = "amq.fanout", .routing_key = queue});
    assert_fails(coney_template_send(sender, NULL, message, NULL), CONEY_E_RETURNED, "exchange 'amq.fanout'");
    assert_ok(coney_template_send(sender, NULL, message, &(coney_send_options){.exchange = ""}));
    assert_fails(coney_template_send(sender, "", message, &(coney_send_options){.exchange = ""}), CONEY_E_RETURNED,
                 "routing key ''");
    test_wait_for_depth(queue, 1);
    coney_message_unref(message);
}

static void test_send_may_differ_from_the_template_in_what_unroutable_means(void **state)
{
    (void)state;
    coney_message *message = test_text("x");
    use_template(&(coney_template_options){.drop_unroutable = true});
    const coney_send_options returns = {.return_unroutable = true}, drops = {.drop_unroutable = true};
    const coney_send_options both = {.return_unroutable = true, .drop_unroutable = true};
    assert_ok(coney_template_send(sender, "no-such-queue", message, NULL));
    assert_fails(coney_template_send(sender, "no-such-queue", message, &returns), CONEY_E_RETURNED, "NO_ROUTE");
    assert_fails(coney_template_send(client.sender, "no-such-queue", message, NULL), CONEY_E_RETURNED, "NO_ROUTE");
    assert_ok(coney_template_send(client.sender, "no-such-queue", message, &drops));
    assert_fails(coney_template_send(sender, queue, message, &both), CONEY_E_INVALID, "contradict");
    coney_message_unref(message);
}

#define queue_test(function) cmocka_unit_test_teardown(function, empty_queues)

int main(void)
{
    const struct CMUnitTest tests[] = {
        queue_test(test_processors_change_what_is_sent_and_stop_when_removed),
        queue_test(test_processor_that_fails_ends_the_send_and_nothing_is_sent),
        queue_test(test_message_id_and_timestamp_are_set),
        queue_test(test_option_creates_message_ids_for_messages_without_one),
        queue_test(test_template_creates_no_message_ids_by_default),
        queue_test(test_wrong_arguments_are_named),
        queue_test(test_container_hands_on_what_processors_left),
        queue_test(test_message_that_finds_no_memory_goes_back),
        queue_test(test_message_that_finds_no_memory_again_and_again_does_not_go_round_at_full_speed),
        queue_test(test_processor_may_stop_its_container),
        queue_test(test_template_runs_its_processors_on_what_it_receives),
        queue_test(test_discarded_message_is_acknowledged_and_not_handled),
        queue_test(test_message_that_a_processor_fails_for_is_rejected),
        queue_test(test_compressed_message_is_smaller_on_its_way_and_arrives_as_it_was),
        queue_test(test_delay_is_a_32_bit_integer_if_it_fits),
        queue_test(test_without_a_delay_there_is_no_header),
        queue_test(test_delay_that_the_program_sets_as_a_header_keeps_its_type),
        queue_test(test_wrong_delays_are_refused),
        queue_test(test_user_id_is_set_if_the_message_has_none),
        queue_test(test_empty_exchange_and_routing_key_are_values),
        queue_test(test_send_may_differ_from_the_template_in_what_unroutable_means),
    };
    int failures = test_run_with_workers("processors", tests, setup, teardown);
    coney_message_unref(received);
    return failures;
}
