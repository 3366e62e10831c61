/* SPDX-License-Identifier: MIT */
/* What calls say that are refused for other reasons than their arguments: the program's own code failed without a
 * word, the factory is closed, the process is a child of fork(), the thread is the one that would be waited for. */
#include "support/refusal.h"

#include <sys/wait.h>
#include <unistd.h>

static coney_connection_factory *factory;
static coney_template *sender;
static coney_batching_template *batching;
static coney_admin *admin;
static coney_container *container;
static coney_message *message;

static coney_outcome handle(coney_delivery *delivery, void *user)
{
    (void)delivery, (void)user;
    return CONEY_ACK;
}

static void make_everything(const coney_connection_factory_options *options)
{
    assert_ok(coney_connection_factory_new(&factory, "amqp://127.0.0.1:1", options));
    assert_ok(coney_template_new(&sender, factory, &(coney_template_options){.timeout_ms = 100}));
    assert_ok(coney_batching_template_new(&batching, sender, NULL));
    assert_ok(coney_admin_new(&admin, factory, &(coney_admin_options){.timeout_ms = 100}));
    assert_ok(coney_container_new(&container, factory, NULL));
    assert_ok(coney_container_listen(container, &(coney_listener){.queue = "q", .on_message = handle}));
}

static int setup(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_ERROR);
    message = test_text("text");
    return 0;
}

static int teardown(void **state)
{
    coney_container_free(container);
    coney_admin_free(admin);
    coney_batching_template_free(batching);
    coney_template_free(sender);
    coney_connection_factory_free(factory);
    coney_message_unref(message);
    factory = NULL;
    sender = NULL;
    batching = NULL;
    admin = NULL;
    container = NULL;
    test_log_stop();
    return test_no_failed_checks(state);
}

/* ---- the program's code ---- */

static coney_status convert_silently(coney_message **made, const void *object, const coney_properties *properties)
{
    (void)made, (void)object, (void)properties;
    return CONEY_E_SYSTEM; /* the status of the spoiled last error, so that nothing but its age tells */
}

static void test_converter_that_says_nothing_is_not_given_the_words_of_an_earlier_failure(void **state)
{
    (void)state;
    const coney_converter silent = {.name = "silent", .to_message = convert_silently};
    make_everything(NULL);
    coney_template *own;
    assert_ok(coney_template_new(&own, factory, &(coney_template_options){.converter = &silent}));
    test_spoil_last_error();
    assert_fails(coney_template_convert_and_send(own, "q", "object", NULL), CONEY_E_SYSTEM,
                 "converter 'silent' failed without saying why");
    assert_true(test_said(CONEY_E_SYSTEM));
    coney_template_free(own);
}

static coney_status refuse_fragment(coney_message *fragment, size_t index, size_t count, void *user)
{
    (void)fragment, (void)index, (void)count, (void)user;
    return CONEY_E_SYSTEM;
}

static void test_fragment_handler_that_says_nothing_is_not_given_the_words_of_an_earlier_failure(void **state)
{
    (void)state;
    coney_message *batch, *const messages[] = {message, message};
    assert_ok(coney_message_batch(&batch, messages, 2));
    test_spoil_last_error();
    assert_fails(coney_message_debatch(batch, refuse_fragment, NULL), CONEY_E_SYSTEM, "fragment 0 of 2");
    assert_true(test_said(CONEY_E_SYSTEM));
    coney_message_unref(batch);
}

/* ---- closed, forked ---- */

static coney_confirmation *confirmation;
static coney_scope *scope;
static coney_message *received;
static void *object;
static coney_content *content;
static coney_send_statistics sent;
static coney_connection_info info;
static coney_health health;
static coney_listener_statistics handled;

static coney_status make_reply(coney_message *request, coney_message **reply, void *user)
{
    (void)request, (void)reply, (void)user;
    return CONEY_OK;
}

static void visit_declaration(const coney_declaration *declaration, void *user)
{
    (void)declaration, (void)user;
}

static void visit_unconfirmed(const coney_unconfirmed *unconfirmed, void *user)
{
    (void)unconfirmed, (void)user;
}

static void visit_listener(const coney_listener_info *listener, void *user)
{
    (void)listener, (void)user;
}

#define REFUSED(status, call) (test_spoil_last_error(), expect(#call, (call), status))

static void expect(const char *call, coney_status got, coney_status status)
{
    bool held = got == status && test_said(status);
    check(held);
    if (!held)
        print_error("%s: %s, '%s'\n", call, coney_status_name(got), coney_last_error());
}

static void expect_that_nothing_is_sent_or_received(coney_status status)
{
    REFUSED(status, coney_connection_factory_connect(factory));
    REFUSED(status, coney_template_send(sender, "q", message, NULL));
    REFUSED(status, coney_template_send_async(sender, "q", message, NULL, NULL, NULL));
    REFUSED(status, coney_template_send_and_forget(sender, "q", message, NULL));
    REFUSED(status, coney_template_begin_send(sender, &confirmation, "q", message, NULL));
    REFUSED(status, coney_template_receive(sender, "q", &received, 0));
    REFUSED(status, coney_template_receive_and_convert(sender, "q", &object, 0));
    REFUSED(status, coney_template_send_text(sender, "q", "text", NULL));
    REFUSED(status, coney_template_receive_content(sender, "q", &content, 0));
    REFUSED(status, coney_template_receive_and_reply(sender, "q", NULL, NULL, make_reply, NULL));
    REFUSED(status, coney_batching_template_send(batching, "q", message, NULL, NULL, NULL));
    REFUSED(status, coney_scope_new(&scope, sender, NULL));
    REFUSED(status, coney_admin_declare_queue(admin, &(coney_queue){.name = "q"}, NULL));
    REFUSED(status, coney_admin_declare_exchange(admin, &(coney_exchange){.name = "x"}));
    REFUSED(status, coney_admin_declare_binding(admin, &(coney_binding){.exchange = "x", .destination = "q"}));
    REFUSED(status, coney_admin_remove_binding(admin, &(coney_binding){.exchange = "x", .destination = "q"}));
    REFUSED(status, coney_admin_queue_info(admin, "q", NULL));
    REFUSED(status, coney_admin_delete_queue(admin, "q", NULL));
    REFUSED(status, coney_admin_delete_exchange(admin, "x"));
    REFUSED(status, coney_admin_purge_queue(admin, "q", NULL));
    REFUSED(status, coney_container_start(container));
}

static void expect_that_nothing_is_done(coney_status status)
{
    expect_that_nothing_is_sent_or_received(status);
    const coney_processor processor = coney_timestamp_processor();
    coney_template *another_sender;
    coney_batching_template *another_batching;
    coney_admin *another_admin;
    coney_container *another_container;
    REFUSED(status, coney_connection_factory_info(factory, CONEY_CONSUMING, &info));
    REFUSED(status, coney_connection_factory_list_declarations(factory, visit_declaration, NULL));
    REFUSED(status, coney_connection_factory_close(factory));
    REFUSED(status, coney_template_new(&another_sender, factory, NULL));
    REFUSED(status, coney_template_wait_for_confirms(sender, 0));
    REFUSED(status, coney_template_statistics(sender, &sent));
    REFUSED(status, coney_template_list_unconfirmed(sender, 0, visit_unconfirmed, NULL));
    REFUSED(status, coney_batching_template_new(&another_batching, sender, NULL));
    REFUSED(status, coney_batching_template_flush(batching));
    REFUSED(status, coney_admin_new(&another_admin, factory, NULL));
    REFUSED(status, coney_container_new(&another_container, factory, NULL));
    REFUSED(status, coney_container_listen(container, &(coney_listener){.queue = "r", .on_message = handle}));
    REFUSED(status, coney_container_unlisten(container, "q"));
    REFUSED(status, coney_container_add_after_receive(container, &processor));
    REFUSED(status, coney_container_remove_after_receive(container, "timestamp"));
    REFUSED(status, coney_container_stop(container));
    REFUSED(status, coney_container_pause(container));
    REFUSED(status, coney_container_resume(container));
    REFUSED(status, coney_container_start_listener(container, "q"));
    REFUSED(status, coney_container_stop_listener(container, "q"));
    REFUSED(status, coney_container_set_concurrency(container, "q", 1, 1));
    REFUSED(status, coney_container_check(container));
    REFUSED(status, coney_container_health(container, &health));
    REFUSED(status, coney_container_list(container, visit_listener, NULL));
    REFUSED(status, coney_container_statistics(container, "q", &handled));
}

static void test_every_call_after_close_says_that_the_factory_is_closed(void **state)
{
    (void)state;
    make_everything(NULL);
    assert_ok(coney_connection_factory_close(factory));
    expect_that_nothing_is_sent_or_received(CONEY_E_CLOSED);
}

static void test_every_call_in_a_child_says_that_the_factory_is_the_parents(void **state)
{
    make_everything(NULL);
    pid_t child = fork();
    if (child == 0) {
        expect_that_nothing_is_done(CONEY_E_STATE);
        _exit(test_no_failed_checks(state) == 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- a limit, and a template that is being freed ---- */

static const coney_template_options one_stored = {.flow = CONEY_FLOW_STORE, .store.max_messages = 1};

static void test_limit_is_told_in_a_sentence(void **state)
{
    (void)state;
    make_everything(NULL);
    coney_template *storing;
    assert_ok(coney_template_new(&storing, factory, &one_stored));
    assert_ok(coney_template_send_async(storing, "q", message, NULL, NULL, NULL));
    REFUSED(CONEY_E_LIMIT, coney_template_send_async(storing, "q", message, NULL, NULL, NULL));
    coney_template_free(storing);
}

static atomic_int told;

static void send_again(coney_message *sent_before, const coney_error *error, void *user)
{
    coney_template *ending = *(coney_template **)user;
    check(error && error->status == CONEY_E_CLOSED);
    REFUSED(CONEY_E_CLOSED, coney_template_send(ending, "q", sent_before, NULL));
    REFUSED(CONEY_E_CLOSED, coney_template_send_async(ending, "q", sent_before, NULL, NULL, NULL));
    atomic_store(&told, 1);
}

static void test_template_that_is_being_freed_says_that_it_is_closed(void **state)
{
    (void)state;
    told = 0;
    make_everything(NULL);
    coney_template *ending;
    assert_ok(coney_template_new(&ending, factory, &one_stored));
    assert_ok(coney_template_send_async(ending, "q", message, NULL, send_again, &ending));
    coney_template_free(ending);
    assert_int_equal(told, 1);
}

/* ---- in a callback ---- */

/* Told that the first attempt to connect has begun or failed. */
static void wait_for_itself(const coney_connection_info *news, void *user)
{
    (void)news, (void)user;
    if (told > 0)
        return;
    REFUSED(CONEY_E_STATE, coney_template_wait_for_confirms(sender, 1000));
    REFUSED(CONEY_E_STATE, coney_connection_factory_close(factory));
    coney_batching_template_free(batching);
    check(test_log_has("coney_batching_template_free"));
    coney_template_free(sender);
    check(test_log_has("coney_template_free"));
    coney_container_free(container);
    check(test_log_has("coney_container_free"));
    coney_connection_factory_free(factory);
    check(test_log_has("the connection factory is not freed"));
    atomic_store(&told, 1);
}

static void test_callback_cannot_wait_for_its_own_end_and_is_told_so(void **state)
{
    (void)state;
    told = 0;
    make_everything(&(coney_connection_factory_options){.on_connection = wait_for_itself});
    coney_connection_factory_connect(factory);
    test_wait_for(&told, 1);
    assert_fails(coney_container_pause(container), CONEY_E_STATE, "not running"); /* it is still there */
    assert_int_equal(coney_template_unconfirmed_count(sender), 0);
}

#define refusal_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        refusal_test(test_converter_that_says_nothing_is_not_given_the_words_of_an_earlier_failure),
        refusal_test(test_fragment_handler_that_says_nothing_is_not_given_the_words_of_an_earlier_failure),
        refusal_test(test_every_call_after_close_says_that_the_factory_is_closed),
        refusal_test(test_every_call_in_a_child_says_that_the_factory_is_the_parents),
        refusal_test(test_limit_is_told_in_a_sentence),
        refusal_test(test_template_that_is_being_freed_says_that_it_is_closed),
        refusal_test(test_callback_cannot_wait_for_its_own_end_and_is_told_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
