/* SPDX-License-Identifier: MIT */
/* Lists of processors: order, names, replacing, discarding, failing, changes while others run. */
#include "amqp/amqp.h"
#include "support/test_support.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

static cny_processors list;

static int setup(void **state)
{
    (void)state;
    cny_processors_init(&list);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cny_processors_free(&list);
    cny_alloc_fail_after(-1);
    return 0;
}

/* Appends its user pointer, a text, to the body. */
static coney_status append(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)exchange;
    (void)routing_key;
    char body[64];
    int size = snprintf(body, sizeof body, "%s%s", (const char *)coney_message_body(*message), (const char *)user);
    return coney_message_with(message, *message, NULL, body, (size_t)size);
}

static void add(const char *name, int order, coney_process *process, void *user)
{
    const coney_processor processor = {.name = name, .order = order, .process = process, .user = user};
    assert_ok(cny_processors_add(&list, &processor));
}

static void expect_result(const char *body)
{
    coney_message *message = test_text("");
    assert_ok(cny_processors_run(&list, &message, "e", "k"));
    assert_string_equal(coney_message_body(message), body);
    coney_message_unref(message);
}

static void test_empty_list_leaves_the_message(void **state)
{
    (void)state;
    coney_message *message = test_text("as it was"), *before = message;
    assert_false(cny_processors_any(&list));
    assert_ok(cny_processors_run(&list, &message, "", ""));
    assert_ptr_equal(message, before);
    coney_message_unref(message);
}

static void test_processors_run_by_order_then_as_added(void **state)
{
    (void)state;
    add("c", 0, append, "c");
    add("d", 0, append, "d");
    add("a", -5, append, "a");
    add("e", 7, append, "e");
    add("b", -5, append, "b");
    expect_result("abcde");
}

static void test_removed_processor_runs_no_more(void **state)
{
    (void)state;
    add("a", 0, append, "a");
    add("b", 0, append, "b");
    assert_ok(cny_processors_remove(&list, "a"));
    expect_result("b");
    assert_ok(cny_processors_remove(&list, "b"));
    assert_false(cny_processors_any(&list));
    expect_result("");
    add("a", 0, append, "again");
    expect_result("again");
}

static atomic_int freed;

static void count_freed(void *user)
{
    (void)user;
    atomic_fetch_add(&freed, 1);
}

static void test_user_is_freed_once_and_also_if_adding_fails(void **state)
{
    (void)state;
    freed = 0;
    const coney_processor processor = {.name = "a", .process = append, .free_user = count_freed};
    assert_ok(cny_processors_add(&list, &processor));
    assert_int_equal(freed, 0);
    assert_fails(cny_processors_add(&list, &processor), CONEY_E_INVALID, "processor 'a' already");
    assert_int_equal(freed, 1);
    assert_ok(cny_processors_remove(&list, "a"));
    assert_int_equal(freed, 2);
    cny_alloc_fail_after(0);
    assert_int_equal(cny_processors_add(&list, &processor), CONEY_E_NO_MEMORY);
    cny_alloc_fail_after(1);
    assert_int_equal(cny_processors_add(&list, &processor), CONEY_E_NO_MEMORY);
    cny_alloc_fail_after(-1);
    assert_int_equal(freed, 4);
    coney_processor loose = processor;
    coney_processor_free(&loose);
    coney_processor_free(&loose);
    coney_processor_free(NULL);
    assert_int_equal(freed, 5);
}

static void test_wrong_processors_are_refused(void **state)
{
    (void)state;
    char name[257];
    memset(name, 'n', 256);
    name[256] = '\0';
    assert_fails(cny_processors_add(&list, &(coney_processor){.process = append}), CONEY_E_INVALID, "no name");
    assert_fails(cny_processors_add(&list, &(coney_processor){.name = "", .process = append}), CONEY_E_INVALID,
                 "no name");
    assert_fails(cny_processors_add(&list, &(coney_processor){.name = "p"}), CONEY_E_INVALID, "'p': process is NULL");
    assert_fails(cny_processors_add(&list, &(coney_processor){.name = name, .process = append}), CONEY_E_INVALID,
                 "256 bytes");
    assert_fails(cny_processors_remove(&list, "p"), CONEY_E_INVALID, "no processor 'p'");
    assert_fails(cny_processors_remove(&list, NULL), CONEY_E_INVALID, "NULL");
    assert_false(cny_processors_any(&list));
}

static coney_status refuse(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)message;
    return user ? coney_conversion_failed("%s to '%s' '%s'", (const char *)user, exchange, routing_key)
                : CONEY_E_CONVERSION;
}

static void test_failure_ends_the_run_and_names_the_processor(void **state)
{
    (void)state;
    coney_message *message = test_text("");
    add("a", 0, append, "a");
    add("picky", 1, refuse, "not this");
    add("b", 2, append, "b");
    assert_fails(cny_processors_run(&list, &message, "e", "k"), CONEY_E_CONVERSION,
                 "processor 'picky': not this to 'e' 'k'");
    assert_string_equal(coney_message_body(message), "a");
    coney_message_unref(message);
}

/* An earlier failure of the same status must not be taken for its reason. */
static void test_failure_without_a_sentence_gets_one(void **state)
{
    (void)state;
    coney_message *message = test_text("");
    coney_conversion_failed("long ago");
    add("silent", 0, refuse, NULL);
    assert_fails(cny_processors_run(&list, &message, "", ""), CONEY_E_CONVERSION, "'silent' answered CONVERSION");
    coney_message_unref(message);
}

static coney_status discard(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)exchange;
    (void)routing_key;
    (void)user;
    *message = NULL;
    return CONEY_OK;
}

static void test_discarded_message_is_not_seen_by_later_processors(void **state)
{
    (void)state;
    coney_message *message = test_text("");
    add("discard", 0, discard, NULL);
    add("later", 1, append, "x");
    assert_ok(cny_processors_run(&list, &message, "", ""));
    assert_null(message);
}

static atomic_bool running;

static void *run_all_the_time(void *unused)
{
    (void)unused;
    while (atomic_load(&running)) {
        coney_message *message = test_text("");
        check(cny_processors_run(&list, &message, "", "") == CONEY_OK);
        check(coney_message_size(message) <= 2);
        coney_message_unref(message);
    }
    return NULL;
}

static void test_processors_come_and_go_while_others_run_them(void **state)
{
    (void)state;
    pthread_t threads[3];
    atomic_store(&running, true);
    freed = 0;
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_all_the_time, NULL), 0);
    for (int i = 0; i < 300; i++) {
        assert_ok(cny_processors_add(
            &list, &(coney_processor){.name = "a", .process = append, .user = "a", .free_user = count_freed}));
        assert_ok(cny_processors_add(
            &list, &(coney_processor){.name = "b", .process = append, .user = "b", .free_user = count_freed}));
        assert_ok(cny_processors_remove(&list, "a"));
        assert_ok(cny_processors_remove(&list, "b"));
    }
    atomic_store(&running, false);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(freed, 600);
    assert_int_equal(test_no_failed_checks(state), 0);
}

static void expect_uuid(const char *id)
{
    assert_non_null(id);
    assert_int_equal(strlen(id), 36);
    assert_int_equal(strspn(id, "0123456789abcdef-"), 36);
    for (size_t i = 8; i <= 23; i += 5)
        assert_int_equal(id[i], '-');
    assert_int_equal(id[14], '4');
    assert_non_null(strchr("89ab", id[19]));
}

static void test_message_id_is_random_and_an_own_one_stays(void **state)
{
    (void)state;
    coney_processor processor = coney_message_id_processor();
    assert_ok(cny_processors_add(&list, &processor));
    coney_message *one = test_text("1"), *other = test_text("2"), *named;
    assert_ok(coney_message_new(&named, "", 0, &(coney_properties){.message_id = "mine"}));
    assert_ok(cny_processors_run(&list, &one, "", ""));
    assert_ok(cny_processors_run(&list, &other, "", ""));
    assert_ok(cny_processors_run(&list, &named, "", ""));
    expect_uuid(coney_message_properties(one)->message_id);
    assert_string_not_equal(coney_message_properties(one)->message_id, coney_message_properties(other)->message_id);
    assert_string_equal(coney_message_properties(named)->message_id, "mine");
    coney_message_unref(one);
    coney_message_unref(other);
    coney_message_unref(named);
}

static void test_timestamp_is_now_and_an_own_one_stays(void **state)
{
    (void)state;
    coney_processor processor = coney_timestamp_processor();
    assert_ok(cny_processors_add(&list, &processor));
    coney_message *one = test_text("1"), *dated;
    assert_ok(coney_message_new(&dated, "", 0, &(coney_properties){.timestamp = 7}));
    assert_ok(cny_processors_run(&list, &one, "", ""));
    assert_ok(cny_processors_run(&list, &dated, "", ""));
    assert_int_in_range(coney_message_properties(one)->timestamp, time(NULL) - 60, time(NULL));
    assert_int_equal(coney_message_properties(dated)->timestamp, 7);
    coney_message_unref(one);
    coney_message_unref(dated);
}

#define list_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        list_test(test_empty_list_leaves_the_message),
        list_test(test_processors_run_by_order_then_as_added),
        list_test(test_removed_processor_runs_no_more),
        list_test(test_user_is_freed_once_and_also_if_adding_fails),
        list_test(test_wrong_processors_are_refused),
        list_test(test_failure_ends_the_run_and_names_the_processor),
        list_test(test_failure_without_a_sentence_gets_one),
        list_test(test_discarded_message_is_not_seen_by_later_processors),
        list_test(test_processors_come_and_go_while_others_run_them),
        list_test(test_message_id_is_random_and_an_own_one_stays),
        list_test(test_timestamp_is_now_and_an_own_one_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
