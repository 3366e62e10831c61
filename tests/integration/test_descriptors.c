/* SPDX-License-Identifier: MIT */
/* Descriptors that somebody else closes, as closefrom() and libraries that make daemons do, or that are not to be had.
 * All of it happens in children, which lose their connections, make new ones, and must neither spin nor touch a file of
 * the program's that has got the number of one of Coney's. */
#include "base/base.h"
#include "support/child.h"
#include "support/test_support.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    FIRST = 3,
    MOST = 64,
    SEND_MS = 20000,
    ROUNDS = 3,
    FOR_A_CONNECTION = 3 /* the socket, and a pair to be woken by */
};

/* ---- a child with everything ---- */

static struct {
    coney_connection_factory *factory;
    coney_template *sender;
    coney_container *container;
    const char *queue;
} child;
static atomic_int handled;

static coney_outcome handle(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    atomic_fetch_add(&handled, 1);
    return CONEY_ACK;
}

static void use_everything(const char *uri)
{
    const coney_tls_options tls = {.dangerously_trust_any_server = true};
    const coney_connection_factory_options options = {.recovery = {.first_delay_ms = 20, .max_delay_ms = 200},
                                                      .connection_timeout_ms = SEND_MS,
                                                      .heartbeat_s = -1, /* nothing else tells of a loss */
                                                      .tls = strncmp(uri, "amqps", 5) == 0 ? &tls : NULL};
    const coney_listener listener = {.queue = child.queue, .on_message = handle};
    coney_log_set_level(CONEY_LOG_OFF);
    child_check(coney_connection_factory_new(&child.factory, uri, &options) == CONEY_OK);
    child_check(coney_template_new(&child.sender, child.factory, NULL) == CONEY_OK);
    child_check(coney_container_new(&child.container, child.factory, NULL) == CONEY_OK);
    child_check(coney_container_listen(child.container, &listener) == CONEY_OK);
}

static void free_everything(void)
{
    coney_container_free(child.container);
    coney_template_free(child.sender);
    coney_connection_factory_free(child.factory);
}

static coney_status send_one(void)
{
    const coney_send_options options = {.timeout_ms = SEND_MS, .exchange = ""};
    coney_message *message = test_text("hello");
    coney_status status = coney_template_send(child.sender, child.queue, message, &options);
    coney_message_unref(message);
    return status;
}

/* What is sent arrives, unless it is under way at the loss. RabbitMQ 3.10 does not notice the end of a TLS connection
 * that comes while RabbitMQ handles the last bytes before it, such as an acknowledgement. Without heartbeats the
 * consumer of that connection stays and is given every other message, so another one is sent. */
static void expect_messages_to_flow(void)
{
    enum { AGAIN_MS = 500 };
    int before = atomic_load(&handled), waited_ms = 0;
    while (atomic_load(&handled) == before) {
        if (waited_ms % AGAIN_MS == 0)
            child_wait_until(send_one() == CONEY_OK);
        test_let_child_wait(&waited_ms, "a message is handled", __FILE__, __LINE__);
    }
}

static int64_t processor_ms(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (int64_t)used.tv_sec * 1000 + used.tv_nsec / 1000000;
}

static void expect_no_spinning(void)
{
    int64_t before = processor_ms();
    poll(NULL, 0, 1000);
    child_check(processor_ms() - before < 200);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static int count_open(void)
{
    int count = 0;
    for (int fd = FIRST; fd < MOST; fd++)
        count += is_open(fd);
    return count;
}

static void begin(const char *uri)
{
    int before = count_open();
    use_everything(uri);
    child_check(coney_container_start(child.container) == CONEY_OK);
    expect_messages_to_flow();
    child_check(count_open() == before + 2 * FOR_A_CONNECTION);
}

static int end(void)
{
    expect_messages_to_flow();
    expect_no_spinning();
    free_everything();
    return 0;
}

/* ---- closed ----
 *
 * By system calls that no sanitizer sees: to close a number that other threads use is the very fault that
 * ThreadSanitizer is to find. */

/* ThreadSanitizer takes a look at a number (see descriptor.h) for a use of the file that has the number by then. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:cny_descriptor_is_ours\n";
}

static void close_one(int fd)
{
    syscall(SYS_close, fd);
}

/* As closefrom(), which musl lacks. */
static void close_from_first(void)
{
    for (int fd = FIRST; fd < MOST; fd++)
        close_one(fd);
}

static char tls_uri[64];

static int close_all_of(const char *uri)
{
    begin(uri);
    for (int i = 0; i < ROUNDS; i++) {
        close_from_first();
        expect_messages_to_flow();
        expect_no_spinning();
    }
    return end();
}

static int close_all(void)
{
    return close_all_of(test_uri());
}

static int close_all_over_tls(void)
{
    return close_all_of(tls_uri);
}

/* Each number once, whatever Coney uses it for. */
static int close_each(void)
{
    int count = 0;
    begin(test_uri());
    for (int fd = FIRST; fd < MOST; fd++) {
        if (!is_open(fd))
            continue;
        close_one(fd);
        expect_messages_to_flow();
        expect_no_spinning();
        count++;
    }
    child_check(count >= 2 * FOR_A_CONNECTION);
    return end();
}

/* ---- in use by others ---- */

/* A file of the program's for each open number: a socket that has something to read. */
static int make_files(int fds[MOST], int ends[MOST])
{
    int count = 0;
    for (int fd = FIRST; fd < MOST; fd++) {
        int pair[2] = {-1, -1};
        fds[fd] = ends[fd] = -1;
        if (!is_open(fd))
            continue;
        child_check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
        child_check(write(pair[1], "hello", 5) == 5);
        fds[fd] = fcntl(pair[0], F_DUPFD, MOST);
        ends[fd] = fcntl(pair[1], F_DUPFD, MOST);
        child_check(fds[fd] >= MOST && ends[fd] >= MOST);
        close(pair[0]);
        close(pair[1]);
        count++;
    }
    return count;
}

/* Gives the numbers to these files. Coney notices the first and may have closed the last by then. */
static void take_numbers(struct stat files[MOST], const int fds[MOST])
{
    for (int fd = FIRST; fd < MOST; fd++) {
        if (fds[fd] < 0)
            continue;
        child_check(syscall(SYS_dup3, fds[fd], fd, 0) == fd);
        close(fds[fd]);
        child_check(fstat(fd, &files[fd]) == 0);
    }
}

static void expect_untouched(const struct stat *file, int fd, int end)
{
    struct stat now;
    char bytes[16];
    child_check(fstat(fd, &now) == 0 && now.st_ino == file->st_ino && now.st_dev == file->st_dev);
    child_check(recv(end, bytes, sizeof bytes, MSG_DONTWAIT) < 0); /* nothing was written */
    child_check(recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) == 5); /* nothing was read */
}

static int take_all_numbers(void)
{
    static struct stat files[MOST];
    static int fds[MOST], ends[MOST];
    begin(test_uri());
    child_check(make_files(fds, ends) >= 2 * FOR_A_CONNECTION);
    expect_no_spinning(); /* nobody is about to write when the numbers change hands */
    take_numbers(files, fds);
    expect_messages_to_flow();
    expect_no_spinning();
    free_everything();
    for (int fd = FIRST; fd < MOST; fd++) {
        if (ends[fd] >= 0)
            expect_untouched(&files[fd], fd, ends[fd]);
    }
    return 0;
}

/* ---- while connecting ---- */

static char silent_uri[64]; /* who accepts connections there says nothing */

static void *connect_silent(void *status)
{
    *(coney_status *)status = coney_connection_factory_connect(child.factory);
    return NULL;
}

static bool is_connecting(void)
{
    struct sockaddr_in peer = {0};
    socklen_t size = sizeof peer;
    for (int fd = FIRST; fd < MOST; fd++) {
        if (getpeername(fd, (struct sockaddr *)&peer, &size) == 0 && peer.sin_family == AF_INET)
            return true;
        size = sizeof peer;
    }
    return false;
}

static int close_while_logging_in(void)
{
    pthread_t thread;
    coney_status status = CONEY_OK;
    use_everything(silent_uri);
    child_check(pthread_create(&thread, NULL, connect_silent, &status) == 0);
    child_wait_until(is_connecting());
    close_from_first();
    expect_no_spinning();
    pthread_join(thread, NULL);
    child_check(status == CONEY_E_SYSTEM);
    free_everything();
    return 0;
}

/* ---- not to be had ---- */

static char localhost_uri[256];

/* All descriptors but so many are in use. */
static int use_up(int spare, int fds[MOST])
{
    const struct rlimit limit = {.rlim_cur = MOST, .rlim_max = MOST};
    int count = 0;
    child_check(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    while (count < MOST && (fds[count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        count++;
    for (; spare > 0 && count > 0; spare--)
        close(fds[--count]);
    return count;
}

static void connect_with(const char *uri, int spare)
{
    int fds[MOST];
    coney_connection_info info;
    int count = use_up(spare, fds);
    use_everything(uri);
    child_check(coney_connection_factory_connect(child.factory) == CONEY_E_SYSTEM);
    child_check(strstr(coney_last_error(), "Too many open files"));
    child_check(coney_connection_factory_info(child.factory, CONEY_CONSUMING, &info) == CONEY_OK);
    child_check(info.state == CONEY_CONNECTION_CONNECTING); /* it goes on */
    while (count > 0)
        close(fds[--count]);
    child_check(coney_container_start(child.container) == CONEY_OK);
    expect_messages_to_flow();
    free_everything();
}

/* A connection takes two to be woken by, then one for each file that the resolver opens, or its socket. */
static int connect_without_descriptors(void)
{
    for (int spare = 0; spare <= 2; spare++) {
        connect_with(localhost_uri, spare);
        connect_with(test_uri(), spare);
    }
    return 0;
}

/* ---- the parent ---- */

static void test_all_descriptors_closed_by_others_cost_the_connections_and_no_processor(void **state)
{
    (void)state;
    test_expect_good_child(close_all);
}

static void test_all_descriptors_closed_by_others_cost_no_more_over_tls(void **state)
{
    (void)state;
    const char *port = getenv("CONEY_TEST_TLS_PORT");
    if (!port)
        test_leave_out(BROKER_IS_NOT_OURS);
    snprintf(tls_uri, sizeof tls_uri, "amqps://localhost:%s", port);
    test_expect_good_child(close_all_over_tls);
}

static void test_each_descriptor_closed_by_others_costs_a_connection_and_no_processor(void **state)
{
    (void)state;
    test_expect_good_child(close_each);
}

static void test_files_that_have_got_our_numbers_are_not_touched(void **state)
{
    (void)state;
    test_expect_good_child(take_all_numbers);
}

static void test_lack_of_descriptors_is_told_and_ends(void **state)
{
    (void)state;
    test_expect_good_child(connect_without_descriptors);
}

static void test_descriptors_closed_by_others_end_a_login(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, MOST), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    snprintf(silent_uri, sizeof silent_uri, "amqp://127.0.0.1:%d", ntohs(address.sin_port));
    test_expect_good_child(close_while_logging_in);
    close(listener);
}

/* The parent has no threads when it forks. */
static int with_client(void (*use)(const char *queue))
{
    test_client_setup(NULL);
    use(child.queue);
    return test_client_teardown(NULL);
}

static int make_queue(void **state)
{
    static char queue[256];
    (void)state;
    snprintf(localhost_uri, sizeof localhost_uri, "amqp://guest:guest@localhost:%d", test_uri_port());
    snprintf(queue, sizeof queue, "%s", test_name("descriptors"));
    child.queue = queue;
    return with_client(test_make_queue);
}

static int delete_queue(void **state)
{
    (void)state;
    return with_client(test_delete_queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_descriptors_closed_by_others_cost_the_connections_and_no_processor),
        cmocka_unit_test(test_all_descriptors_closed_by_others_cost_no_more_over_tls),
        cmocka_unit_test(test_each_descriptor_closed_by_others_costs_a_connection_and_no_processor),
        cmocka_unit_test(test_files_that_have_got_our_numbers_are_not_touched),
        cmocka_unit_test(test_descriptors_closed_by_others_end_a_login),
        cmocka_unit_test(test_lack_of_descriptors_is_told_and_ends),
    };
    return cmocka_run_group_tests_name("descriptors", tests, make_queue, delete_queue);
}
