/* SPDX-License-Identifier: MIT */
/* A host that knows nothing of Coney opens a plugin that uses Coney, has it do its work, and closes it: no thread may
 * run its code then. What may crash happens in a child. */
#include "plugin/plugin.h"
#include "support/cmocka.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HOSTS 5   /* at a time, for most of a round is waiting */
#define ROUNDS 25 /* of each host; a round costs the broker 20 ms of its processor */
#define PATIENCE_S 30
#define HANGING_MS 20

/* ---- the run's broker ---- */

static const char *from_environment(const char *name)
{
    const char *value = getenv(name);
    if (!value)
        fail_msg("%s is not set; run the tests with ./dev test", name);
    return value;
}

static plugin_job plain_job(void)
{
    return (plugin_job){.uri = from_environment("CONEY_TEST_URI")};
}

static plugin_job tls_job(void)
{
    static char uri[128], ca_file[512];
    if (!getenv("CONEY_TEST_TLS_PORT"))
        test_leave_out(BROKER_IS_NOT_OURS);
    snprintf(uri, sizeof uri, "amqps://guest:guest@127.0.0.1:%s", from_environment("CONEY_TEST_TLS_PORT"));
    snprintf(ca_file, sizeof ca_file, "%s/ca.pem", from_environment("CONEY_TEST_CERTIFICATES"));
    return (plugin_job){.uri = uri, .ca_file = ca_file};
}

/* ---- the host's part in a job ---- */

static sem_t handled, released;

static void note_handled(void)
{
    sem_post(&handled);
}

static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0 && errno == EINTR) {
    }
}

static void hang(void)
{
    sem_post(&handled);
    wait_for(&released);
}

static coney_outcome hang_in_host(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    hang();
    return CONEY_ACK;
}

static bool wait_until_handled(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    return sem_timedwait(&handled, &until) == 0;
}

/* ---- rounds; in a child, which must not crash ---- */

static void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why ? why : "?");
    _exit(1);
}

static bool is_mapped(const char *path)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    if (handle)
        dlclose(handle);
    return handle;
}

static void run_once(const char *path, const plugin_job *job)
{
    plugin_function *run = NULL;
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!plugin)
        die(path, dlerror());
    *(void **)&run = dlsym(plugin, PLUGIN_FUNCTION);
    const char *trouble = run(job);
    if (trouble)
        die("the plugin failed", trouble);
    dlclose(plugin);
}

static void *end_at_once(void *argument)
{
    return argument;
}

/* With the first thread a sanitizer starts one of its own, which stays. */
static void start_first_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, end_at_once, NULL) != 0)
        die("the host", "cannot start a thread");
    pthread_join(thread, NULL);
}

static int own_threads; /* the host's */

static int count_threads(void)
{
    int count = 0;
    DIR *threads = opendir("/proc/self/task");
    for (const struct dirent *one; threads && (one = readdir(threads));)
        count += one->d_name[0] != '.';
    if (threads)
        closedir(threads);
    return count;
}

/* The kernel forgets a thread a moment after it is joined. */
static void wait_for_threads(const char *path)
{
    for (int left_ms = PATIENCE_S * 1000; count_threads() > own_threads; left_ms--) {
        if (left_ms == 0)
            die(path, "its threads have not ended");
        poll(NULL, 0, 1);
    }
}

/* Nothing of the plugin's is called when the host forks. */
static void expect_fork(const char *path)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        die(path, "the host cannot fork");
}

static void run_rounds(const char *path, plugin_job job)
{
    job.on_handled = note_handled;
    for (int i = 0; i < ROUNDS; i++) {
        run_once(path, &job);
        if (is_mapped(path))
            die(path, "still mapped, so it proves nothing");
    }
    wait_for_threads(path);
    expect_fork(path);
}

/* What the handler does after its plugin is closed must not crash. */
static void run_hanging(const char *path, plugin_job job)
{
    job.on_handled = hang;
    job.shutdown_timeout_ms = HANGING_MS;
    run_once(path, &job);
    sem_post(&released);
    wait_for_threads(path);
}

typedef void run_function(const char *path, plugin_job job);

static pid_t start_host(run_function *run, const char *path, plugin_job job, int number)
{
    char queue[64];
    snprintf(queue, sizeof queue, "coney.plugin.%d.%d", (int)getpid(), number);
    job.queue = queue;
    job.wait_until_handled = wait_until_handled;
    fflush(NULL); /* or the child writes again what waits to be written */
    pid_t child = fork();
    if (child != 0)
        return child;
    sem_init(&handled, 0, 0);
    sem_init(&released, 0, 0);
    start_first_thread();
    own_threads = count_threads();
    run(path, job);
    exit(0);
}

static void in_hosts(int count, run_function *run, const char *path, plugin_job job)
{
    pid_t hosts[HOSTS];
    for (int i = 0; i < count; i++) {
        hosts[i] = start_host(run, path, job, i);
        assert_true(hosts[i] > 0);
    }
    for (int i = 0; i < count; i++) {
        int status;
        assert_int_equal(waitpid(hosts[i], &status, 0), hosts[i]);
        if (WIFSIGNALED(status))
            fail_msg("the host died of signal %d", WTERMSIG(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

/* ---- tests ---- */

static void test_plugin_with_shared_coney_is_closed_again_and_again(void **state)
{
    (void)state;
    in_hosts(HOSTS, run_rounds, CONEY_TEST_PLUGIN_SHARED, plain_job());
}

static void test_plugin_with_shared_coney_is_closed_again_and_again_after_tls(void **state)
{
    (void)state;
    in_hosts(HOSTS, run_rounds, CONEY_TEST_PLUGIN_SHARED, tls_job());
}

static void test_plugin_with_static_coney_is_closed_again_and_again(void **state)
{
    (void)state;
    in_hosts(HOSTS, run_rounds, CONEY_TEST_PLUGIN_STATIC, plain_job());
}

static void test_plugin_with_static_coney_is_closed_again_and_again_after_tls(void **state)
{
    (void)state;
    in_hosts(HOSTS, run_rounds, CONEY_TEST_PLUGIN_STATIC, tls_job());
}

/* Coney knows nothing of the plugin's own code, so the handler is the host's. */
static void test_handler_returns_after_its_plugin_with_shared_coney_is_closed(void **state)
{
    (void)state;
    plugin_job job = plain_job();
    job.on_message = hang_in_host;
    in_hosts(1, run_hanging, CONEY_TEST_PLUGIN_SHARED, job);
}

static void test_handler_returns_after_its_plugin_with_static_coney_is_closed(void **state)
{
    (void)state;
    in_hosts(1, run_hanging, CONEY_TEST_PLUGIN_STATIC, plain_job());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plugin_with_shared_coney_is_closed_again_and_again),
        cmocka_unit_test(test_plugin_with_shared_coney_is_closed_again_and_again_after_tls),
        cmocka_unit_test(test_plugin_with_static_coney_is_closed_again_and_again),
        cmocka_unit_test(test_plugin_with_static_coney_is_closed_again_and_again_after_tls),
        cmocka_unit_test(test_handler_returns_after_its_plugin_with_shared_coney_is_closed),
        cmocka_unit_test(test_handler_returns_after_its_plugin_with_static_coney_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
