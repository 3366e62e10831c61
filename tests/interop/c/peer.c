/* SPDX-License-Identifier: MIT */
/* The C side of the suite, against the Spring peer of Peer.java: `interop_peer LINE` first sends what the Java side
 * checks, then checks what the Java side has sent. cmocka prints each result as a line of TAP, which report.awk reads.
 * `interop_peer LINE record FILE` writes what Spring sends to a file instead (record.c). */
#include "interop.h"
#include "record.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum { MAX_TESTS = 300, HANG_S = 30 };

static struct CMUnitTest tests[MAX_TESTS];
static size_t test_count;
static const char *running;

static void tell_hang(int signal)
{
    (void)signal;
    static const char before[] = "not ok - ", after[] = " hangs\n";
    bool is_told = write(STDOUT_FILENO, before, sizeof before - 1) > 0 &&
                   write(STDOUT_FILENO, running, strlen(running)) > 0 &&
                   write(STDOUT_FILENO, after, sizeof after - 1) > 0;
    _exit(is_told ? 1 : 2);
}

static int before_case(void **state)
{
    running = ((const interop_case *)*state)->name;
    alarm(HANG_S);
    return 0;
}

static int after_case(void **state)
{
    alarm(0);
    return test_no_failed_checks(state);
}

static const char *queue_of(const interop_case *one, const char *side)
{
    char name[200];
    snprintf(name, sizeof name, "%s.%s", one->name, side);
    return interop_name(name);
}

static void send_to_spring(void **state)
{
    const interop_case *one = *state;
    one->send(queue_of(one, "spring"));
}

static void read_from_spring(void **state)
{
    const interop_case *one = *state;
    const char *queue = queue_of(one, "coney");
    if (one->serve) {
        one->serve(queue);
        return;
    }
    for (int i = 0; i < one->messages || i == 0; i++) {
        coney_message *message;
        assert_ok(coney_template_receive(client.sender, queue, &message, interop_patience()));
        if (!message)
            fail_msg("no message came to %s", queue);
        one->read(message, i);
        coney_message_unref(message);
    }
}

static void add_test(const char *direction, const interop_case *one, CMUnitTestFunction function)
{
    static char names[MAX_TESTS][200];
    assert_true(test_count < MAX_TESTS);
    snprintf(names[test_count], sizeof names[0], "%s %s", direction, one->name);
    tests[test_count] =
        (struct CMUnitTest){names[test_count], function, before_case, after_case, (void *)(uintptr_t)one};
    test_count++;
}

static void add_tests(void)
{
    for (const interop_case *const *table = interop_tables; *table; table++) {
        for (const interop_case *one = *table; one->name; one++) {
            if (one->send)
                add_test("send", one, send_to_spring);
        }
    }
    for (const interop_case *const *table = interop_tables; *table; table++) {
        for (const interop_case *one = *table; one->name; one++) {
            if (one->read || one->serve)
                add_test("Spring->C", one, read_from_spring);
        }
    }
}

/* The Java side has the same queues. They go by themselves, because the broker may not be private. */
static void declare(const char *queue)
{
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = queue, .expires_ms = 600000}, NULL));
}

static int begin(void **state)
{
    test_client_setup(state);
    for (const interop_case *const *table = interop_tables; *table; table++) {
        for (const interop_case *one = *table; one->name; one++) {
            declare(queue_of(one, "spring"));
            declare(queue_of(one, "coney"));
        }
    }
    return 0;
}

/* The Java side keeps its listeners until then. */
static int end(void **state)
{
    const char *queue = interop_name("end");
    declare(queue);
    interop_send(queue, test_text("end"));
    return test_client_teardown(state);
}

int main(int argc, char **argv)
{
    bool records = argc == 4 && strcmp(argv[2], "record") == 0;
    if (argc != 2 && !records) {
        fprintf(stderr, "usage: interop_peer LINE [record FILE]\n");
        return 2;
    }
    interop_line = argv[1];
    setvbuf(stdout, NULL, _IOLBF, 0);
    coney_log_set_level(CONEY_LOG_ERROR);
    if (records) {
        const struct CMUnitTest record = cmocka_unit_test_prestate(interop_record, argv[3]);
        return _cmocka_run_group_tests("record", &record, 1, begin, test_client_teardown);
    }
    cmocka_set_message_output(CM_OUTPUT_TAP);
    signal(SIGALRM, tell_hang);
    add_tests();
    return _cmocka_run_group_tests("interop", tests, test_count, begin, end) == 0 ? 0 : 1;
}
