/* SPDX-License-Identifier: MIT */
/* Which signals reach Coney's threads. Those that run the program's code have the mask of the thread that made the
 * factory or the batching template, or started the container; the others leave signals to the program. */
#include "support/test_support.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CRASH_SEEN = 42 };

/* ---- masks ---- */

/* The signals with which the program's threads differ. */
static const int marks[] = {SIGUSR1, SIGUSR2, SIGTERM};

static sigset_t mask_of(int signal)
{
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, signal);
    return mask;
}

typedef struct seen {
    atomic_int calls;
    atomic_int blocked; /* bits: which of the marks */
} seen;

static void look(seen *what)
{
    sigset_t mask;
    int blocked = 0;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    for (size_t i = 0; i < COUNT_OF(marks); i++)
        blocked |= sigismember(&mask, marks[i]) << i;
    atomic_store(&what->blocked, blocked);
    atomic_fetch_add(&what->calls, 1);
}

static void expect_mark(seen *what, size_t mark)
{
    test_wait_until(atomic_load(&what->calls) > 0);
    assert_int_equal(atomic_load(&what->blocked), 1 << mark);
}

/* ---- a client whose parts are made with different masks ---- */

static struct {
    coney_connection_factory *factory;
    coney_template *sender;
    coney_batching_template *batching;
    coney_container *container;
    char queue[256];
    sigset_t before;
    seen provider, listener, callback, handler, processor;
    atomic_bool by_timer;
    char child_line[64];
} here;

static coney_status provide(coney_credentials *credentials, void *user)
{
    (void)credentials;
    look(user);
    return CONEY_OK;
}

static void on_connection(const coney_connection_info *info, void *user)
{
    (void)info;
    look(user);
}

static void on_complete(coney_message *message, const coney_error *error, void *user)
{
    (void)message;
    (void)error;
    look(user);
}

static coney_outcome handle(coney_delivery *delivery, void *user)
{
    (void)delivery;
    look(user);
    return CONEY_ACK;
}

static coney_status process(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)message;
    (void)exchange;
    (void)routing_key;
    if (atomic_load(&here.by_timer))
        look(user);
    return CONEY_OK;
}

static void use_mark(size_t mark)
{
    sigset_t mask = mask_of(marks[mark]);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

static void make_factory(void)
{
    const coney_connection_factory_options options = {.credentials = provide,
                                                      .credentials_user = &here.provider,
                                                      .on_connection = on_connection,
                                                      .listener_user = &here.listener};
    snprintf(here.queue, sizeof here.queue, "%s", test_name("signals"));
    assert_ok(coney_connection_factory_new(&here.factory, test_uri(), &options));
    assert_ok(coney_template_new(&here.sender, here.factory, NULL));
}

static void start_container(coney_message_handler *handler)
{
    const coney_queue queue = {.name = here.queue, .exclusive = true};
    const coney_listener listener = {.declare = &queue, .on_message = handler, .user = &here.handler};
    assert_ok(coney_container_new(&here.container, here.factory, NULL));
    assert_ok(coney_container_listen(here.container, &listener));
    assert_ok(coney_container_start(here.container));
}

static void send_one(void)
{
    coney_message *message = test_text("hello");
    assert_ok(coney_template_send_async(here.sender, here.queue, message, NULL, on_complete, &here.callback));
    coney_message_unref(message);
}

static int setup(void **state)
{
    (void)state;
    memset(&here, 0, sizeof here);
    pthread_sigmask(SIG_SETMASK, NULL, &here.before);
    return 0;
}

static int teardown(void **state)
{
    coney_batching_template_free(here.batching);
    coney_template_free(here.sender);
    coney_container_free(here.container);
    coney_connection_factory_free(here.factory);
    pthread_sigmask(SIG_SETMASK, &here.before, NULL);
    return test_no_failed_checks(state);
}

/* ---- whose mask ---- */

static void test_handler_has_the_mask_of_the_thread_that_started_the_container(void **state)
{
    (void)state;
    make_factory();
    use_mark(1);
    start_container(handle);
    use_mark(2);
    send_one();
    expect_mark(&here.handler, 1);
}

static void test_container_that_is_started_again_has_the_mask_of_that_start(void **state)
{
    (void)state;
    make_factory();
    use_mark(0);
    start_container(handle);
    assert_ok(coney_container_stop(here.container));
    use_mark(1);
    assert_ok(coney_container_start(here.container));
    send_one();
    expect_mark(&here.handler, 1);
}

static void test_callbacks_have_the_mask_of_the_thread_that_made_the_factory(void **state)
{
    (void)state;
    use_mark(0);
    make_factory();
    use_mark(1);
    start_container(handle);
    send_one();
    expect_mark(&here.callback, 0);
    expect_mark(&here.listener, 0);
}

static void test_credentials_provider_has_the_mask_of_the_thread_that_made_the_factory(void **state)
{
    (void)state;
    use_mark(0);
    make_factory();
    use_mark(1);
    assert_ok(coney_connection_factory_connect(here.factory));
    expect_mark(&here.provider, 0);
}

static void test_processor_of_a_batch_that_is_due_has_the_mask_of_the_thread_that_made_its_template(void **state)
{
    (void)state;
    const coney_processor processor = {.name = "look", .process = process, .user = &here.processor};
    const coney_batching_options options = {.timeout_ms = 1};
    coney_message *message = test_text("hello");
    make_factory();
    start_container(handle);
    assert_ok(coney_template_add_before_publish(here.sender, &processor));
    use_mark(2);
    assert_ok(coney_batching_template_new(&here.batching, here.sender, &options));
    use_mark(1);
    atomic_store(&here.by_timer, true);
    assert_ok(coney_batching_template_send(here.batching, here.queue, message, NULL, on_complete, &here.callback));
    coney_message_unref(message);
    expect_mark(&here.processor, 2);
}

/* The kernel's own word: the mask of a thread of that name. */
static unsigned long long mask_of_thread(const char *name)
{
    unsigned long long mask = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (const struct dirent *task; (task = readdir(tasks));) {
        char path[300], line[256], found[64] = "";
        unsigned long long blocked = 0;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        FILE *file = fopen(path, "re");
        while (file && fgets(line, sizeof line, file)) {
            sscanf(line, "Name: %63s", found);
            sscanf(line, "SigBlk: %llx", &blocked);
        }
        if (file)
            fclose(file);
        if (strcmp(found, name) == 0)
            mask = blocked;
    }
    closedir(tasks);
    return mask;
}

static unsigned long long bit_of(int signal)
{
    return 1ULL << (signal - 1);
}

static void test_internal_threads_leave_signals_to_the_program(void **state)
{
    (void)state;
    static const char *const names[] = {"coney-io", "coney-listen"};
    make_factory();
    start_container(handle);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        unsigned long long mask = mask_of_thread(names[i]);
        assert_true(mask & bit_of(SIGTERM));
        assert_true(mask & bit_of(SIGINT));
        assert_true(mask & bit_of(SIGCHLD));
        assert_false(mask & bit_of(SIGSEGV));
        assert_false(mask & bit_of(SIGABRT));
        assert_false(mask & bit_of(SIGPROF));
    }
}

/* ---- what follows ---- */

/* Without a shell, for some reset the mask. */
static coney_outcome start_a_child(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    int ends[2];
    check(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execlp("grep", "grep", "SigBlk:", "/proc/self/status", (char *)NULL);
        _exit(1);
    }
    close(ends[1]);
    check(read(ends[0], here.child_line, sizeof here.child_line - 1) > 0);
    close(ends[0]);
    check(waitpid(child, NULL, 0) == child);
    atomic_fetch_add(&here.handler.calls, 1);
    return CONEY_ACK;
}

static void test_process_started_in_a_handler_has_no_signals_blocked(void **state)
{
    (void)state;
    unsigned long long mask = ~0ULL;
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    make_factory();
    start_container(start_a_child);
    send_one();
    test_wait_until(atomic_load(&here.handler.calls) > 0);
    assert_int_equal(sscanf(here.child_line, "SigBlk: %llx", &mask), 1);
    assert_true(mask == 0);
}

static void see_crash(int signal)
{
    _exit(signal == SIGSEGV ? CRASH_SEEN : 1);
}

static coney_outcome crash(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    volatile char *page = mmap(NULL, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *page = 1;
    return CONEY_ACK;
}

_Noreturn static void be_crashing_child(void)
{
    signal(SIGSEGV, see_crash);
    make_factory();
    start_container(crash);
    send_one();
    for (;;)
        pause();
}

static void test_crash_handler_runs_for_a_crash_in_a_message_handler(void **state)
{
    (void)state;
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        execl("/proc/self/exe", "test_signals", "crash", (char *)NULL);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), CRASH_SEEN);
}

#define signals_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "crash") == 0)
        be_crashing_child();
    const struct CMUnitTest tests[] = {
        signals_test(test_handler_has_the_mask_of_the_thread_that_started_the_container),
        signals_test(test_container_that_is_started_again_has_the_mask_of_that_start),
        signals_test(test_callbacks_have_the_mask_of_the_thread_that_made_the_factory),
        signals_test(test_credentials_provider_has_the_mask_of_the_thread_that_made_the_factory),
        signals_test(test_processor_of_a_batch_that_is_due_has_the_mask_of_the_thread_that_made_its_template),
        signals_test(test_internal_threads_leave_signals_to_the_program),
        signals_test(test_process_started_in_a_handler_has_no_signals_blocked),
        signals_test(test_crash_handler_runs_for_a_crash_in_a_message_handler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
