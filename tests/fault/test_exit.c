/* SPDX-License-Identifier: MIT */
/* A process that ends while messages are unconfirmed or stored says so in one line on stderr, and in no other case:
 * each test starts this program once more, as a client of the scripted broker, and reads what that writes. */
#include "support/fault_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE "coney warn: the process ends with %d messages that the broker has not confirmed"
#define NOWHERE "amqp://127.0.0.1:1"

/* ---- the client ---- */

static coney_connection_factory *factory;
static coney_template *sender;

static bool make(const char *uri, coney_flow flow)
{
    const coney_connection_factory_options options = {.close_timeout_ms = 200};
    return coney_connection_factory_new(&factory, uri, &options) == CONEY_OK &&
           coney_template_new(&sender, factory, &(coney_template_options){.flow = flow}) == CONEY_OK;
}

static bool send_two(void)
{
    coney_message *message = fault_message("hello");
    bool sent = true;
    for (int i = 0; i < 2; i++)
        sent = sent && coney_template_send_async(sender, "key", message, NULL, NULL, NULL) == CONEY_OK;
    coney_message_unref(message);
    return sent;
}

static void free_all(void)
{
    coney_template_free(sender);
    coney_connection_factory_free(factory);
}

static void free_all_and_log(void)
{
    free_all();
    coney_log_set_level(CONEY_LOG_WARN);
}

static void write_it(coney_log_level level, const char *text, void *user)
{
    (void)level, (void)user;
    fprintf(stderr, "sink: %s\n", text);
}

static int leave_unconfirmed(const char *uri)
{
    return make(uri, CONEY_FLOW_WAIT) && send_two() ? 0 : 1;
}

static int wait_for_confirms(const char *uri)
{
    bool done = leave_unconfirmed(uri) == 0 && coney_template_wait_for_confirms(sender, CNY_PATIENCE_MS) == CONEY_OK;
    return done ? 0 : 1;
}

static int leave_stored(const char *uri)
{
    (void)uri;
    return make(NOWHERE, CONEY_FLOW_STORE) && send_two() ? 0 : 1;
}

static int free_everything(const char *uri)
{
    coney_log_set_level(CONEY_LOG_OFF); /* the free tells, too */
    int status = leave_unconfirmed(uri);
    free_all();
    coney_log_set_level(CONEY_LOG_WARN);
    return status;
}

static int free_at_exit(const char *uri)
{
    coney_log_set_level(CONEY_LOG_OFF);
    return atexit(free_all_and_log) == 0 ? leave_unconfirmed(uri) : 1;
}

static int have_a_sink(const char *uri)
{
    coney_log_set_sink(write_it, NULL);
    return leave_unconfirmed(uri);
}

static int log_errors_only(const char *uri)
{
    coney_log_set_level(CONEY_LOG_ERROR);
    return leave_unconfirmed(uri);
}

/* The child ends by exit(), its parent does not. */
static int fork_a_child(const char *uri)
{
    int status = leave_unconfirmed(uri);
    pid_t child = fork();
    if (child == 0)
        exit(status);
    waitpid(child, &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

static const struct client {
    const char *name;
    int (*run)(const char *uri);
} clients[] = {{"unconfirmed", leave_unconfirmed}, {"confirmed", wait_for_confirms},
               {"stored", leave_stored},           {"freed", free_everything},
               {"cleanup", free_at_exit},          {"sink", have_a_sink},
               {"errors", log_errors_only},        {"fork", fork_a_child}};

static int run_client(const char *name, const char *uri)
{
    for (size_t i = 0; i < sizeof clients / sizeof *clients; i++) {
        if (strcmp(clients[i].name, name) == 0)
            return clients[i].run(uri);
    }
    return 2;
}

/* ---- the tests ---- */

static void confirm_nothing(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_CONFIRM_SELECT_METHOD));
    cny_peer_silence(peer, CNY_PATIENCE_MS); /* the process may end before its messages are written */
}

static pid_t start_client(const char *name, const char *uri, int standard_error)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        dup2(standard_error, STDERR_FILENO);
        setenv("ASAN_OPTIONS", "detect_leaks=0", 1); /* a process that ends so leaves memory and threads */
        setenv("TSAN_OPTIONS", "report_thread_leaks=0", 1);
        execl("/proc/self/exe", "test_exit", name, uri, (char *)NULL);
        _exit(127);
    }
    assert_true(child > 0);
    return child;
}

static void expect_good_end(pid_t child)
{
    int status = 0;
    int64_t deadline = cny_now_ms() + CNY_PATIENCE_MS;
    while (waitpid(child, &status, WNOHANG) == 0) {
        if (cny_now_ms() > deadline) {
            kill(child, SIGKILL);
            fail_msg("the client hangs");
        }
        poll(NULL, 0, 2);
    }
    assert_int_equal(status, 0);
}

/* What the client has written, until it has ended. */
static const char *said_by(const char *name)
{
    static char text[4096];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = start_client(name, fault.broker ? cny_broker_uri(fault.broker) : NOWHERE, ends[1]);
    close(ends[1]);
    size_t size = 0;
    ssize_t got;
    while ((got = read(ends[0], text + size, sizeof text - 1 - size)) > 0)
        size += (size_t)got;
    text[size] = '\0';
    close(ends[0]);
    expect_good_end(child);
    return text;
}

/* Among those of other threads, which may go on to connect. */
static void expect_line(const char *said)
{
    char line[128];
    snprintf(line, sizeof line, LINE, 2);
    const char *found = strstr(said, line);
    if (!found || strstr(found + 1, line) || !strchr(found, '\n'))
        fail_msg("not one line that begins with '%s': '%s'", line, said);
}

static void expect_no_line(const char *said)
{
    if (strstr(said, "the process ends"))
        fail_msg("'%s'", said);
}

static void test_unconfirmed_messages_are_told_in_one_line(void **state)
{
    (void)state;
    fault_start(confirm_nothing, NULL);
    expect_line(said_by("unconfirmed"));
}

static void test_stored_messages_are_told_in_one_line(void **state)
{
    (void)state;
    expect_line(said_by("stored"));
}

static void test_confirmed_messages_are_no_reason_for_a_line(void **state)
{
    (void)state;
    fault_start(NULL, NULL);
    expect_no_line(said_by("confirmed"));
}

static void test_template_that_is_freed_leaves_nothing_to_tell(void **state)
{
    (void)state;
    fault_start(confirm_nothing, NULL);
    expect_no_line(said_by("freed"));
}

static void test_template_that_an_exit_handler_frees_leaves_nothing_to_tell(void **state)
{
    (void)state;
    fault_start(confirm_nothing, NULL);
    expect_no_line(said_by("cleanup"));
}

static void test_programs_own_sink_is_not_called_and_stderr_is_left_alone(void **state)
{
    (void)state;
    fault_start(confirm_nothing, NULL);
    expect_no_line(said_by("sink"));
}

static void test_level_without_warnings_leaves_out_the_line(void **state)
{
    (void)state;
    fault_start(confirm_nothing, NULL);
    expect_no_line(said_by("errors"));
}

static void test_forked_child_does_not_tell_its_parents_messages(void **state)
{
    (void)state;
    fault_start(confirm_nothing, NULL);
    expect_no_line(said_by("fork"));
}

static void test_pipe_that_nobody_reads_holds_up_no_exit(void **state)
{
    (void)state;
    int ends[2];
    char zeros[512] = "";
    fault_start(confirm_nothing, NULL);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
    while (write(ends[1], zeros, sizeof zeros) > 0)
        ;
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0);
    expect_good_end(start_client("unconfirmed", cny_broker_uri(fault.broker), ends[1]));
    close(ends[0]);
    close(ends[1]);
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return run_client(argv[1], argv[2]);
    const struct CMUnitTest tests[] = {
        fault_test(test_unconfirmed_messages_are_told_in_one_line),
        fault_test(test_stored_messages_are_told_in_one_line),
        fault_test(test_confirmed_messages_are_no_reason_for_a_line),
        fault_test(test_template_that_is_freed_leaves_nothing_to_tell),
        fault_test(test_template_that_an_exit_handler_frees_leaves_nothing_to_tell),
        fault_test(test_programs_own_sink_is_not_called_and_stderr_is_left_alone),
        fault_test(test_level_without_warnings_leaves_out_the_line),
        fault_test(test_forked_child_does_not_tell_its_parents_messages),
        fault_test(test_pipe_that_nobody_reads_holds_up_no_exit),
    };
    return cmocka_run_group_tests_name("exit", tests, NULL, NULL);
}
