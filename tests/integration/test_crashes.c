/* SPDX-License-Identifier: MIT */
/* Messages that kill the process of their handler. The processes are real: this program, started again as a child that
 * listens to the queue and dies by SIGKILL in its handler. */
#include "support/listening.h"
#include "support/plain_client.h"

#include "base/base.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_CRASHES = 2, MOST_ALONE = 2 };

/* ---- the child ---- */

/* Everything but a killer is written down in the queue `user`, so the parent knows who was handled. */
static coney_outcome die_or_tell(coney_delivery *delivery, void *user)
{
    char text[64];
    if (strncmp(listening_text(delivery, text), "kill", 4) == 0)
        raise(SIGKILL);
    if (strncmp(text, "slow", 4) == 0)
        usleep(50000);
    coney_message *note = test_text(text);
    coney_status status = coney_template_send(client.sender, user, note, NULL);
    coney_message_unref(note);
    return status == CONEY_OK ? CONEY_ACK : CONEY_RETRY;
}

static int be_child(char **arguments)
{
    const coney_listener_retry retry = {.stateful = strcmp(arguments[2], "stateful") == 0,
                                        .max_attempts = strcmp(arguments[2], "stateful") == 0 ? MAX_CRASHES : 0,
                                        .max_crashes = strcmp(arguments[2], "guard") == 0 ? MAX_CRASHES : 0};
    const coney_listener listener = {.queue = arguments[0],
                                     .on_message = die_or_tell,
                                     .user = arguments[1],
                                     .concurrency = atoi(arguments[3]),
                                     .retry = retry};
    coney_container *container;
    test_client_setup(NULL);
    coney_log_set_level(getenv("CONEY_TEST_LOG") ? CONEY_LOG_INFO : CONEY_LOG_OFF); /* NOLINT(concurrency-mt-unsafe) */
    if (coney_container_new(&container, client.factory, NULL) != CONEY_OK ||
        coney_container_listen(container, &listener) != CONEY_OK || coney_container_start(container) != CONEY_OK)
        return 2;
    for (;;)
        pause(); /* until the parent has seen enough */
}

/* ---- the parent ---- */

static const char *done;

typedef struct house {
    const char *mode, *concurrency;
    pid_t child;
    int deaths;
} house;

static void spawn(house *one)
{
    one->child = fork();
    assert_true(one->child >= 0);
    if (one->child > 0)
        return;
    execl("/proc/self/exe", "test_crashes", "--child", listening.queue, done, one->mode, one->concurrency,
          (char *)NULL);
    _exit(3);
}

/* Starts it again when it has died in a handler. */
static void look_after(house *one)
{
    int status;
    if (waitpid(one->child, &status, WNOHANG) != one->child)
        return;
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    one->deaths++;
    spawn(one);
}

static void end(house *one)
{
    kill(one->child, SIGTERM);
    while (waitpid(one->child, NULL, 0) < 0 && errno == EINTR)
        ;
}

static uint32_t depth_of(const char *queue)
{
    coney_queue_info info = {0};
    assert_ok(coney_admin_queue_info(client.admin, queue, &info));
    return (uint32_t)info.message_count;
}

static bool is_over(uint32_t dead, uint32_t neighbours)
{
    return depth_of(listening.dead) >= dead && depth_of(done) >= neighbours && depth_of(listening.queue) == 0;
}

/* Until so many are dead and so many neighbours done; gives how often processes died. */
static int run(house *houses, size_t count, uint32_t dead, uint32_t neighbours)
{
    int deaths = 0;
    for (size_t i = 0; i < count; i++)
        spawn(&houses[i]);
    bool over = false;
    for (int64_t until = cny_now_ms() + INT64_C(2) * TEST_PATIENCE_MS; !over && cny_now_ms() < until; usleep(20000)) {
        for (size_t i = 0; i < count; i++)
            look_after(&houses[i]);
        over = is_over(dead, neighbours);
    }
    for (size_t i = 0; i < count; i++) {
        end(&houses[i]);
        deaths += houses[i].deaths;
    }
    if (!over)
        fail_msg("%u dead, %u done, %u left, %d crashes", depth_of(listening.dead), depth_of(done),
                 depth_of(listening.queue), deaths);
    return deaths;
}

static int setup(void **state)
{
    int status = listening_setup(state);
    done = listening_make_other_queue("done");
    listening_other_queue("quarantine");
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM});
    return status;
}

/* A killer among those after which there are two neighbours, and so on. */
static void send_killers_and_neighbours(int killers, int neighbours, const char *neighbour)
{
    char text[64];
    for (int i = 0; i < neighbours; i++) {
        if (i % 2 == 0 && i / 2 < killers) {
            snprintf(text, sizeof text, "kill %d", i / 2);
            listening_send(text);
        }
        snprintf(text, sizeof text, "%s %d", neighbour, i);
        listening_send(text);
    }
}

static void expect_dead(int killers)
{
    for (int i = 0; i < killers; i++) {
        amqp_message_t message = plain_get(listening.dead);
        assert_memory_equal(message.body.bytes, "kill", 4);
        amqp_destroy_message(&message);
    }
    test_wait_for_depth(listening.dead, 0);
}

static void expect_killers_ended(house *houses, size_t count, int killers, int neighbours, const char *neighbour)
{
    send_killers_and_neighbours(killers, neighbours, neighbour);
    int deaths = run(houses, count, (uint32_t)killers, (uint32_t)neighbours);
    assert_int_in_range(deaths, MOST_ALONE, killers * (MAX_CRASHES + MOST_ALONE));
    expect_dead(killers);
}

/* ---- real crashes ---- */

static void test_killer_is_ended_by_stateful_retry_and_its_neighbours_are_handled(void **state)
{
    (void)state;
    expect_killers_ended(&(house){.mode = "stateful", .concurrency = "1"}, 1, 1, 10, "good");
}

static void test_killer_is_ended_by_max_crashes_alone(void **state)
{
    (void)state;
    expect_killers_ended(&(house){.mode = "guard", .concurrency = "1"}, 1, 1, 10, "good");
}

static void test_each_of_several_killers_is_ended_and_no_neighbour(void **state)
{
    (void)state;
    expect_killers_ended(&(house){.mode = "guard", .concurrency = "1"}, 1, 3, 20, "good");
}

static void test_slow_neighbours_in_two_processes_with_two_consumers_each_are_not_ended(void **state)
{
    (void)state;
    house houses[] = {{.mode = "guard", .concurrency = "2"}, {.mode = "guard", .concurrency = "2"}};
    expect_killers_ended(houses, COUNT_OF(houses), 2, 20, "slow");
}

static void test_ended_message_tells_why(void **state)
{
    (void)state;
    send_killers_and_neighbours(1, 1, "good");
    run(&(house){.mode = "guard", .concurrency = "1"}, 1, 1, 1);
    amqp_message_t message = plain_get(listening.dead);
    plain_expect_header(&message, CONEY_HEADER_EXCEPTION_MESSAGE,
                        "the process or its connection ended 2 times while the handler was alone with this message; no "
                        "handler gets it any more");
    assert_int_equal(plain_number_header(&message, CONEY_HEADER_ATTEMPTS), MAX_CRASHES + MOST_ALONE);
    amqp_destroy_message(&message);
}

static void test_transient_message_stays_transient_in_quarantine_and_after_it(void **state)
{
    (void)state;
    listening_send_with("kill 0", &(coney_properties){.delivery_mode = CONEY_TRANSIENT});
    run(&(house){.mode = "guard", .concurrency = "1"}, 1, 1, 0);
    amqp_message_t message = plain_get(listening.dead);
    assert_non_null(plain_header(&message, CONEY_HEADER_ENDED_BY));
    assert_int_equal(message.properties.delivery_mode, AMQP_DELIVERY_NONPERSISTENT);
    amqp_destroy_message(&message);
}

/* ---- suspects that are harmless ---- */

static void expect_all_settled(void)
{
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    test_wait_for_depth(listening.dead, 0);
    char name[300];
    snprintf(name, sizeof name, "%s.quarantine", listening.queue);
    test_wait_for_depth(name, 0);
}

static coney_outcome put_back_six_times(coney_delivery *delivery, void *user)
{
    (void)user;
    return listening_note(delivery) < 6 ? CONEY_REQUEUE : CONEY_ACK;
}

static void test_message_that_its_handler_always_puts_back_is_not_ended(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = put_back_six_times, .retry = {.max_crashes = 1}});
    listening_send("go");
    listening_wait_for_calls(7);
    test_wait_until(listening_statistics().in_progress == 0);
    expect_all_settled();
}

static void handle_batch(coney_delivery *const *deliveries, size_t count, coney_outcome *outcomes, void *user)
{
    for (size_t i = 0; i < count; i++)
        outcomes[i] = listening_obey(deliveries[i], user);
}

static void expect_second_attempt_alone(coney_listener listener)
{
    listener.retry.max_crashes = 1;
    listening_start(&listener);
    listening_send("again");
    listening_wait_for_calls(2);
    test_wait_until(listening_statistics().in_progress == 0);
    assert_int_equal(listening_statistics().republished, 1);
    expect_all_settled();
}

static void test_suspect_of_a_batch_listener_is_handled_alone(void **state)
{
    (void)state;
    expect_second_attempt_alone((coney_listener){.on_batch = handle_batch, .batch_timeout_ms = 50});
}

static void test_suspect_of_a_listener_with_lanes_is_handled_alone(void **state)
{
    (void)state;
    expect_second_attempt_alone((coney_listener){.lanes = 3, .concurrency = 2});
}

static void test_suspect_of_a_transacted_listener_is_handled_alone(void **state)
{
    (void)state;
    expect_second_attempt_alone((coney_listener){.transacted = true});
}

static void test_suspect_of_a_listener_that_acknowledges_together_is_handled_alone(void **state)
{
    (void)state;
    expect_second_attempt_alone((coney_listener){.ack_every = 10, .ack_after_ms = 50});
}

static _Atomic(coney_delivery *) kept;

static coney_outcome keep(coney_delivery *delivery, void *user)
{
    (void)user;
    if (listening_note(delivery) == 0)
        return CONEY_REQUEUE;
    atomic_store(&kept, coney_delivery_ref(delivery));
    return CONEY_DEFER;
}

static void test_suspect_whose_handler_defers_it_is_settled_by_another_thread(void **state)
{
    (void)state;
    atomic_store(&kept, NULL);
    listening_start(
        &(coney_listener){.on_message = keep, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL, .retry = {.max_crashes = 1}});
    listening_send("go");
    test_wait_until(atomic_load(&kept) != NULL);
    assert_string_equal(coney_delivery_queue(atomic_load(&kept)), listening.queue);
    assert_ok(coney_delivery_settle(atomic_load(&kept), CONEY_ACK));
    coney_delivery_unref(atomic_load(&kept));
    expect_all_settled();
}

static coney_outcome put_back_then_reject(coney_delivery *delivery, void *user)
{
    (void)user;
    return listening_note(delivery) == 0 ? CONEY_REQUEUE : CONEY_REJECT;
}

static void test_suspect_that_is_rejected_goes_to_the_dead_letters_of_its_queue(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = put_back_then_reject, .retry = {.max_crashes = 1}});
    listening_send("go");
    test_wait_for_depth(listening.dead, 1);
    listening_wait_for_calls(3);
    assert_int_equal(listening.count, 3);
}

static void test_message_that_this_process_survived_is_no_suspect(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = put_back_six_times, .retry = {.max_crashes = 1}});
    listening_send_with("go", &(coney_properties){.message_id = "m-1"});
    listening_wait_for_calls(7);
    assert_int_equal(listening_statistics().republished, 0);
}

static void test_message_moved_back_from_the_dead_letters_is_not_ended_again(void **state)
{
    (void)state;
    send_killers_and_neighbours(1, 1, "good");
    run(&(house){.mode = "guard", .concurrency = "1"}, 1, 1, 1);
    coney_message *message;
    assert_ok(coney_template_receive(client.sender, listening.dead, &message, 5000));
    listening_start(&(coney_listener){.retry = {.max_crashes = MAX_CRASHES}});
    assert_ok(coney_template_send(client.sender, listening.queue, message, NULL));
    coney_message_unref(message);
    listening_wait_for_calls(1);
}

/* ---- alone ---- */

static atomic_int inside, was_accompanied, was_alone;

static coney_outcome count_company(coney_delivery *delivery, void *user)
{
    char text[64];
    bool is_suspect = strcmp(listening_text(delivery, text), "again") == 0 && listening_calls_of("again") > 0;
    atomic_fetch_add(&inside, 1);
    for (int i = 0; i < 20; i++) {
        if (is_suspect && atomic_load(&inside) > 1)
            atomic_store(&was_accompanied, 1);
        usleep(1000);
    }
    atomic_fetch_sub(&inside, 1);
    if (is_suspect)
        atomic_fetch_add(&was_alone, 1);
    return listening_obey(delivery, user);
}

static void test_no_other_handler_of_the_listener_runs_while_a_suspect_is_handled(void **state)
{
    (void)state;
    atomic_store(&was_accompanied, 0);
    listening_start(
        &(coney_listener){.on_message = count_company, .concurrency = 3, .prefetch = 5, .retry = {.max_crashes = 1}});
    listening_send("again");
    for (int i = 0; i < 60; i++)
        listening_send("good");
    listening_wait_for_calls(62);
    assert_int_equal(was_alone, 1);
    assert_int_equal(was_accompanied, 0);
    test_wait_until(listening_statistics().in_progress == 0);
    expect_all_settled();
}

/* ---- stopping ---- */

static atomic_int is_held, is_inside;

static coney_outcome hold_suspect(coney_delivery *delivery, void *user)
{
    (void)user;
    if (listening_note(delivery) == 0)
        return CONEY_REQUEUE;
    atomic_store(&is_inside, 1);
    while (atomic_load(&is_held))
        usleep(1000);
    return CONEY_ACK;
}

static void *let_go(void *unused)
{
    (void)unused;
    usleep(50000);
    atomic_store(&is_held, 0);
    return NULL;
}

static void test_stop_waits_for_the_handler_of_a_suspect(void **state)
{
    (void)state;
    pthread_t thread;
    atomic_store(&is_held, 1);
    atomic_store(&is_inside, 0);
    listening_start(&(coney_listener){.on_message = hold_suspect, .retry = {.max_crashes = 1}});
    listening_send("go");
    test_wait_for(&is_inside, 1);
    assert_int_equal(pthread_create(&thread, NULL, let_go, NULL), 0);
    assert_ok(coney_container_stop_with(listening.container, CONEY_STOP_FINISH, 10000));
    pthread_join(thread, NULL);
    expect_all_settled();
}

static int group_teardown(void **state)
{
    plain_close();
    return test_client_teardown(state);
}

int main(int argc, char **argv)
{
    if (argc == 6 && strcmp(argv[1], "--child") == 0)
        return be_child(argv + 2);
#define with_queues(test) cmocka_unit_test_setup_teardown(test, setup, listening_teardown)
    const struct CMUnitTest tests[] = {
        with_queues(test_killer_is_ended_by_stateful_retry_and_its_neighbours_are_handled),
        with_queues(test_killer_is_ended_by_max_crashes_alone),
        with_queues(test_each_of_several_killers_is_ended_and_no_neighbour),
        with_queues(test_slow_neighbours_in_two_processes_with_two_consumers_each_are_not_ended),
        with_queues(test_ended_message_tells_why),
        with_queues(test_transient_message_stays_transient_in_quarantine_and_after_it),
        with_queues(test_message_that_its_handler_always_puts_back_is_not_ended),
        with_queues(test_suspect_of_a_batch_listener_is_handled_alone),
        with_queues(test_suspect_of_a_listener_with_lanes_is_handled_alone),
        with_queues(test_suspect_of_a_transacted_listener_is_handled_alone),
        with_queues(test_suspect_of_a_listener_that_acknowledges_together_is_handled_alone),
        with_queues(test_suspect_whose_handler_defers_it_is_settled_by_another_thread),
        with_queues(test_suspect_that_is_rejected_goes_to_the_dead_letters_of_its_queue),
        with_queues(test_message_that_this_process_survived_is_no_suspect),
        with_queues(test_message_moved_back_from_the_dead_letters_is_not_ended_again),
        with_queues(test_no_other_handler_of_the_listener_runs_while_a_suspect_is_handled),
        with_queues(test_stop_waits_for_the_handler_of_a_suspect),
    };
    return cmocka_run_group_tests_name("crashes", tests, test_client_setup, group_teardown);
}
