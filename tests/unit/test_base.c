/* SPDX-License-Identifier: MIT */
/* The ground floor: errors, log, buffers, arenas; and what every constructor does when memory
 * runs out at any point: it says so, leaks nothing, and works the next time. */
#include "amqp/amqp.h"
#include "support/test_support.h"

#include <coney/amqp/version.h>

#include <errno.h>
#include <pthread.h>

static void test_error_travels_with_code_and_answers(void **state)
{
    (void)state;
    cny_fail_code(CONEY_E_NOT_FOUND, 404, "no queue '%s'", "q");
    cny_fail_in("declare '%s'", "x");
    cny_error *error = cny_error_capture();
    cny_fail(CONEY_E_LOST, "something else");
    assert_true(coney_last_error_details()->retriable);
    assert_false(coney_last_error_details()->fatal);
    assert_int_equal(cny_error_raise(error), CONEY_E_NOT_FOUND);
    cny_error_unref(error);
    assert_string_equal(coney_last_error(), "declare 'x': no queue 'q'");
    assert_int_equal(coney_last_error_details()->broker_code, 404);
    assert_string_equal(coney_status_name(CONEY_E_NOT_FOUND), "NOT_FOUND");
    assert_string_equal(coney_status_name(CONEY_E_HANDLER), "HANDLER");
    assert_int_equal(cny_error_raise(NULL), CONEY_OK);
}

static void *other_thread(void *unused)
{
    (void)unused;
    bool clean = coney_last_error()[0] == '\0';
    cny_fail(CONEY_E_STATE, "of the other thread");
    return clean ? "clean" : NULL;
}

static void test_every_thread_has_its_own_last_error(void **state)
{
    (void)state;
    pthread_t thread;
    void *clean;
    cny_fail(CONEY_E_INVALID, "mine");
    assert_int_equal(pthread_create(&thread, NULL, other_thread, NULL), 0);
    pthread_join(thread, &clean);
    assert_non_null(clean);
    assert_string_equal(coney_last_error(), "mine");
}

static void test_system_errors_have_their_texts(void **state)
{
    (void)state;
    assert_string_equal(cny_errno_text(ENOENT), strerror(ENOENT));
    assert_string_equal(cny_errno_text(ECONNREFUSED), strerror(ECONNREFUSED));
    assert_true(cny_errno_text(9999)[0] != '\0');
}

static void test_library_has_the_version_of_its_headers(void **state)
{
    (void)state;
    assert_string_equal(coney_version(), CONEY_VERSION);
    assert_int_equal(coney_version_number(), CONEY_VERSION_NUMBER);
}

static void test_versions_are_compared_by_their_numbers(void **state)
{
    (void)state;
    int major = 0, minor = 0, patch = 0;
    assert_int_equal(sscanf(coney_version(), "%d.%d.%d", &major, &minor, &patch), 3);
    assert_int_equal(CONEY_VERSION_OF(major, minor, patch), CONEY_VERSION_NUMBER);
    assert_true(CONEY_VERSION_OF(1, 0, 0) > CONEY_VERSION_OF(0, 99, 99));
    assert_true(CONEY_VERSION_OF(0, 2, 0) > CONEY_VERSION_OF(0, 1, 99));
}

static void test_log_goes_to_the_sink_above_its_level_only(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_WARN);
    cny_log(CONEY_LOG_WARN, "seen %d", 1);
    cny_log(CONEY_LOG_INFO, "hidden");
    test_log_expect("warn: seen 1");
    assert_false(test_log_has("hidden"));
    coney_log_set_level(CONEY_LOG_OFF);
    cny_log(CONEY_LOG_ERROR, "silent");
    assert_false(test_log_has("silent"));
    test_log_stop();
}

static void test_buffer_grows_from_the_stack_to_the_heap(void **state)
{
    (void)state;
    uint8_t room[4];
    cny_buffer buffer;
    cny_buffer_on_stack(&buffer, room, sizeof room);
    assert_true(cny_buffer_append(&buffer, "abc", 3));
    assert_ptr_equal(buffer.data, room);
    assert_true(cny_buffer_append(&buffer, "def", 3));
    assert_memory_equal(buffer.data, "abcdef", 6);
    assert_false(cny_buffer_reserve(&buffer, SIZE_MAX));
    assert_int_equal(buffer.size, 6);
    cny_buffer_free(&buffer);
}

/* ---- memory that runs out ---- */

static coney_status make_table(void)
{
    coney_table *inner = coney_table_new(), *table = coney_table_new();
    coney_array *array = coney_array_new();
    coney_value number = coney_value_int64(1);
    coney_status status = inner && table && array ? CONEY_OK : CONEY_E_NO_MEMORY;
    if (status == CONEY_OK)
        status = coney_table_set_string(inner, "text", "value");
    for (int i = 0; status == CONEY_OK && i < 20; i++)
        status = coney_array_append(array, &number);
    if (status == CONEY_OK)
        status = coney_table_set_table(table, "inner", inner);
    if (status == CONEY_OK)
        status = coney_table_set_array(table, "array", array);
    coney_message *message = NULL;
    if (status == CONEY_OK)
        status = coney_message_new(&message, "body", 4, &(coney_properties){.headers = table, .type = "t"});
    coney_message_unref(message);
    coney_table_free(inner);
    coney_table_free(table);
    coney_array_free(array);
    return status;
}

static coney_status make_topology(void)
{
    coney_connection_factory *factory = NULL;
    coney_admin *admin = NULL;
    coney_topology *topology = coney_topology_new();
    if (!topology)
        return CONEY_E_NO_MEMORY;
    coney_topology_add_exchange(topology, &(coney_exchange){.name = "e"});
    coney_topology_add_queue(topology, &(coney_queue){.name = "q", .dead_letter_exchange = "d"});
    coney_topology_bind(topology, "e", "q", "k");
    coney_status status = coney_connection_factory_new(&factory, "amqp://u:p@a,b/v", NULL);
    if (status == CONEY_OK)
        status = coney_admin_new(&admin, factory, &(coney_admin_options){.topology = topology});
    coney_admin_free(admin);
    coney_connection_factory_free(factory);
    coney_topology_free(topology);
    return status;
}

static coney_outcome never(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    return CONEY_REQUEUE;
}

static coney_status make_users_of_a_factory(void)
{
    coney_connection_factory *factory = NULL;
    coney_template *sender = NULL;
    coney_container *container = NULL;
    coney_status status = coney_connection_factory_new(&factory, "amqp://nowhere", NULL);
    if (status == CONEY_OK)
        status = coney_template_new(&sender, factory, &(coney_template_options){.exchange = "e"});
    if (status == CONEY_OK)
        status = coney_container_new(&container, factory, &(coney_container_options){.name = "c"});
    if (status == CONEY_OK)
        status = coney_container_listen(container, &(coney_listener){.queue = "q", .on_message = never});
    coney_container_free(container);
    coney_template_free(sender);
    coney_connection_factory_free(factory);
    return status;
}

static coney_status convert(void)
{
    coney_message *message = NULL;
    void *object = NULL;
    coney_status status = coney_text_converter()->to_message(&message, "text", NULL);
    if (status == CONEY_OK)
        status = coney_text_converter()->from_message(&object, message);
    coney_text_converter()->free_object(object);
    object = NULL;
    if (status == CONEY_OK)
        status = coney_bytes_converter()->from_message(&object, message);
    coney_bytes_converter()->free_object(object);
    coney_message_unref(message);
    return status;
}

/* Fails the first allocation, then the second, and so on, until the work succeeds. */
static void sweep(coney_status (*work)(void))
{
    coney_status status = CONEY_E_NO_MEMORY;
    int successes = 0;
    for (; status != CONEY_OK && successes < 1000; successes++) {
        cny_alloc_fail_after(successes);
        status = work();
        cny_alloc_fail_after(-1);
        if (status != CONEY_OK)
            assert_int_equal(status, CONEY_E_NO_MEMORY);
    }
    assert_int_equal(status, CONEY_OK);
    assert_true(successes > 1);
}

static void test_constructors_survive_every_failing_allocation(void **state)
{
    (void)state;
    sweep(make_table);
    sweep(make_topology);
    sweep(make_users_of_a_factory);
    sweep(convert);
}

static void test_free_takes_null(void **state)
{
    (void)state;
    coney_message_unref(NULL);
    coney_table_free(NULL);
    coney_array_free(NULL);
    coney_topology_free(NULL);
    coney_admin_free(NULL);
    coney_template_free(NULL);
    coney_container_free(NULL);
    coney_connection_factory_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_travels_with_code_and_answers),
        cmocka_unit_test(test_every_thread_has_its_own_last_error),
        cmocka_unit_test(test_system_errors_have_their_texts),
        cmocka_unit_test(test_library_has_the_version_of_its_headers),
        cmocka_unit_test(test_versions_are_compared_by_their_numbers),
        cmocka_unit_test(test_log_goes_to_the_sink_above_its_level_only),
        cmocka_unit_test(test_buffer_grows_from_the_stack_to_the_heap),
        cmocka_unit_test(test_constructors_survive_every_failing_allocation),
        cmocka_unit_test(test_free_takes_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
