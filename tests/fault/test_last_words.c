/* SPDX-License-Identifier: MIT */
/* A broker that says why it ends a connection and hangs up at once, while the client writes: the client learns the
 * reason, and not that it could not write. */
#include "support/fault_fixture.h"

enum { LOSSES = 30, LONG_MS = 10000 };

/* What the client has written and nobody reads makes the socket's end a reset. */
static void say_why_and_reset(cny_peer *peer, void *user)
{
    (void)user;
    amqp_connection_close_t close = {.reply_code = 320, .reply_text = amqp_cstring_bytes("CONNECTION_FORCED - bye")};
    cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    if (cny_peer_number(peer) >= LOSSES)
        return;
    cny_peer_send(peer, 0, AMQP_CONNECTION_CLOSE_METHOD, &close);
    cny_peer_reset(peer);
}

/* Large messages, so that it writes nearly all the time. */
static void write_until_all_are_lost(void)
{
    static const char body[60000];
    coney_message *message;
    fault_expect_status(CONEY_OK, coney_message_new(&message, body, sizeof body, NULL));
    int64_t deadline = cny_now_ms() + CNY_PATIENCE_MS;
    while (fault_info(CONEY_PUBLISHING).times_opened <= LOSSES && cny_now_ms() < deadline)
        (void)coney_template_send_and_forget(fault.sender, "key", message, NULL);
    coney_message_unref(message);
}

/* As the program is told so far. One that is not in the broker's words fails the test. */
static int count_losses(void)
{
    coney_connection_info events[FAULT_MAX_EVENTS];
    int count = fault_connection_events(CONEY_PUBLISHING, events), losses = 0;
    for (int i = 0; i < count; i++) {
        if (events[i].state != CONEY_CONNECTION_CONNECTING || events[i].reason == CONEY_OK)
            continue;
        losses++;
        if (!strstr(events[i].text, "320 CONNECTION_FORCED - bye"))
            fail_msg("%s", events[i].text);
    }
    return losses;
}

static void test_loss_noticed_while_writing_is_told_in_the_brokers_words(void **state)
{
    (void)state;
    fault_start(say_why_and_reset,
                &(coney_connection_factory_options){.recovery = {.first_delay_ms = 1, .max_delay_ms = 1}});
    fault_use_template(NULL);
    write_until_all_are_lost();
    fault_wait_until(count_losses() == LOSSES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_loss_noticed_while_writing_is_told_in_the_brokers_words),
    };
    return cmocka_run_group_tests_name("last words", tests, NULL, NULL);
}
