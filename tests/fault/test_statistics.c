/* SPDX-License-Identifier: MIT */
/* Counts and the list of unconfirmed messages: every message is in exactly one count, and those the
 * broker has not spoken about can be named. */
#include "support/fault_fixture.h"

#include <stdio.h>

enum { TIMEOUT_MS = 1000, GAP_MS = 150, LONG_MS = 10000 };

static coney_send_statistics statistics(void)
{
    coney_send_statistics now;
    fault_expect_status(CONEY_OK, coney_template_statistics(fault.sender, &now));
    assert_int_equal(now.sent, now.confirmed + now.nacked + now.returned + now.refused + now.lost + now.closed +
                                   now.timed_out + now.unconfirmed);
    assert_int_equal(now.unconfirmed, coney_template_unconfirmed_count(fault.sender));
    uint64_t latencies = 0;
    for (int i = 0; i < CONEY_LATENCY_BUCKETS; i++)
        latencies += now.latency[i];
    assert_int_equal(latencies, now.confirmed);
    return now;
}

static cny_peer_method *take(cny_peer *peer, int count)
{
    cny_peer_method *publish = NULL;
    for (int i = 0; i < count; i++)
        publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    return publish;
}

static void send_messages(int from, int to, const char *exchange)
{
    for (int i = from; i <= to; i++)
        fault_expect_status(CONEY_OK, fault_send_async(i, exchange));
}

/* Of ten: two acks, a return, a nack, a 404 for two, the rest is lost. Then one is acked, one never. */
static void do_all_there_is(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) == 0) {
        amqp_channel_t channel = take(peer, 2)->channel;
        cny_peer_ack(peer, channel, 2, true);
        cny_peer_return(peer, take(peer, 1), 312, "NO_ROUTE");
        cny_peer_ack(peer, channel, 3, false);
        take(peer, 1);
        cny_peer_nack(peer, channel, 4, false);
        take(peer, 6);
        cny_peer_close_channel(peer, channel, 404, "NOT_FOUND - no exchange 'missing' in vhost '/'");
        cny_peer_hang_up(peer);
        return;
    }
    cny_peer_ack(peer, take(peer, 1)->channel, 1, false);
    take(peer, 1);
    cny_peer_wait_go(peer);
}

static void test_every_message_is_in_exactly_one_count(void **state)
{
    (void)state;
    fault_start(do_all_there_is, NULL);
    fault_use_template(&(coney_template_options){.confirm_timeout_ms = TIMEOUT_MS});
    assert_int_equal(statistics().sent, 0);
    send_messages(0, 7, NULL);
    send_messages(8, 9, "missing");
    fault_wait_for_confirms();
    fault_wait_for_opening(CONEY_PUBLISHING, 2);
    send_messages(10, 11, NULL);
    fault_wait_for_confirms();
    coney_send_statistics now = statistics();
    assert_int_equal(now.sent, 12);
    assert_int_equal(now.confirmed, 3);
    assert_int_equal(now.returned, 1);
    assert_int_equal(now.nacked, 1);
    assert_int_equal(now.refused, 2);
    assert_int_equal(now.lost, 4);
    assert_int_equal(now.timed_out, 1);
    assert_int_equal(now.unconfirmed, 0);
    assert_int_equal(now.resent, 0);
    assert_int_in_range(now.bytes, 12 * 40, 12 * 200);
    cny_broker_go(fault.broker);
}

static void hang_up_on_three_then_confirm_them(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = take(peer, 3)->channel;
    if (cny_peer_number(peer) == 0)
        cny_peer_hang_up(peer);
    else
        cny_peer_ack(peer, channel, 3, true);
}

static void test_message_sent_again_is_counted_once_and_as_resent(void **state)
{
    (void)state;
    fault_start(hang_up_on_three_then_confirm_them, NULL);
    fault_use_template(&(coney_template_options){.resend_unconfirmed = true});
    send_messages(0, 2, NULL);
    fault_wait_for_confirms();
    coney_send_statistics now = statistics();
    assert_int_equal(now.sent, 3);
    assert_int_equal(now.confirmed, 3);
    assert_int_equal(now.resent, 3);
    assert_true(now.waited_us > 0); /* for the first connection */
}

static void ack_a_tenth_of_a_second_late(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = take(peer, 1)->channel;
    cny_peer_silence(peer, 100);
    cny_peer_ack(peer, channel, 1, false);
}

static void test_latency_is_in_the_bucket_of_its_microseconds(void **state)
{
    (void)state;
    fault_start(ack_a_tenth_of_a_second_late, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    coney_send_statistics now = statistics();
    uint64_t counted = 0;
    for (int i = 0; i < CONEY_LATENCY_BUCKETS; i++) {
        assert_true(i >= 16 || now.latency[i] == 0); /* none below 65 ms */
        counted += now.latency[i];
    }
    assert_int_equal(counted, 1);
}

static void take_four_and_confirm_when_told(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = take(peer, 4)->channel;
    cny_peer_ack(peer, channel, 2, false);
    cny_peer_wait_go(peer);
    cny_peer_ack(peer, channel, 4, true);
}

static char visited[256];

static void visit(const coney_unconfirmed *unconfirmed, void *user)
{
    assert_ptr_equal(user, visited);
    assert_int_in_range(unconfirmed->age_ms, 0, LONG_MS);
    size_t used = strlen(visited);
    snprintf(visited + used, sizeof visited - used, "%.*s to '%.20s' with '%s'; ",
             (int)coney_message_size(unconfirmed->message), (const char *)coney_message_body(unconfirmed->message),
             unconfirmed->exchange, unconfirmed->routing_key);
}

static const char *list(int older_than_ms)
{
    visited[0] = '\0';
    fault_expect_status(CONEY_OK, coney_template_list_unconfirmed(fault.sender, older_than_ms, visit, visited));
    return visited;
}

static void test_unconfirmed_messages_are_listed_by_age_with_their_routes(void **state)
{
    (void)state;
    char long_name[256];
    memset(long_name, 'x', 255);
    long_name[255] = '\0';
    fault_start(take_four_and_confirm_when_told, NULL);
    fault_use_template(NULL);
    send_messages(0, 1, "orders");
    fault_wait_until(strcmp(list(GAP_MS), "0 to 'orders' with 'key'; 1 to 'orders' with 'key'; ") == 0);
    int64_t later = cny_now_ms();
    send_messages(2, 2, NULL);
    send_messages(3, 3, long_name);
    fault_wait_until(coney_template_unconfirmed_count(fault.sender) == 3);
    assert_string_equal(list(0),
                        "0 to 'orders' with 'key'; 2 to '' with 'key'; 3 to 'xxxxxxxxxxxxxxxxxxxx' with 'key'; ");
    /* Again, should the list be made so late that the others have come of that age, too. */
    fault_wait_until(strcmp(list((int)(cny_now_ms() - later) + GAP_MS / 2), "0 to 'orders' with 'key'; ") == 0);
    cny_broker_go(fault.broker);
    fault_wait_for_confirms();
    assert_string_equal(list(0), "");
}

static void send_another(const coney_unconfirmed *unconfirmed, void *user)
{
    (void)user;
    fault_expect_status(CONEY_OK, coney_template_send_async(fault.sender, unconfirmed->routing_key,
                                                            unconfirmed->message, NULL, NULL, NULL));
}

static void take_two_and_confirm_both(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_ack(peer, take(peer, 2)->channel, 2, true);
}

static void test_visitor_may_send(void **state)
{
    (void)state;
    fault_start(take_two_and_confirm_both, NULL);
    fault_use_template(NULL);
    send_messages(0, 0, NULL);
    fault_expect_status(CONEY_OK, coney_template_list_unconfirmed(fault.sender, 0, send_another, NULL));
    fault_wait_for_confirms();
    assert_int_equal(statistics().confirmed, 2);
}

static void test_misuse_is_told(void **state)
{
    (void)state;
    coney_send_statistics now;
    fault_start(NULL, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_INVALID, coney_template_statistics(NULL, &now));
    fault_expect_status(CONEY_E_INVALID, coney_template_statistics(fault.sender, NULL));
    assert_int_equal(coney_template_unconfirmed_count(NULL), 0);
    fault_expect_status(CONEY_E_INVALID, coney_template_list_unconfirmed(fault.sender, 0, NULL, NULL));
    fault_expect_status(CONEY_E_INVALID, coney_template_list_unconfirmed(fault.sender, -5, visit, NULL));
    fault_expect_text("-5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_every_message_is_in_exactly_one_count),
        fault_test(test_message_sent_again_is_counted_once_and_as_resent),
        fault_test(test_latency_is_in_the_bucket_of_its_microseconds),
        fault_test(test_unconfirmed_messages_are_listed_by_age_with_their_routes),
        fault_test(test_visitor_may_send),
        fault_test(test_misuse_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
