/* SPDX-License-Identifier: MIT */
/* A cluster of three nodes and a quorum queue with a replica on each: nodes die while messages flow, the
 * client moves on to another, and nothing confirmed is lost. */
#include "support/cluster.h"
#include "support/test_support.h"
#include "support/traffic.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>

enum { NODES = 3, MESSAGES = 50, PATIENCE_MS = 30000 };

static cny_cluster *cluster;

static int start_cluster(void **state)
{
    (void)state;
    int64_t start = cny_now_ms();
    cluster = cny_cluster_start(NODES);
    print_message("%d nodes started in %d ms\n", NODES, (int)(cny_now_ms() - start));
    return 0;
}

static int stop_cluster(void **state)
{
    (void)state;
    cny_cluster_stop(cluster);
    return 0;
}

/* After a loss the client goes to the node behind the one that it has lost. */
static int start_traffic(void **state)
{
    (void)state;
    for (int node = 0; node < NODES; node++)
        cny_cluster_ensure(cluster, node);
    cny_traffic_start(
        cny_cluster_uri(cluster),
        &(cny_traffic_options){.kind = CONEY_QUORUM, .per_second = 100, .factory.host_order = CONEY_HOSTS_ROTATE});
    cny_traffic_flow(200, PATIENCE_MS); /* RabbitMQ 3.10 forgets replicas on nodes killed within half a second */
    return 0;
}

static int node_of(coney_connection_role role)
{
    char address[32];
    coney_connection_info info = cny_traffic_info(role);
    for (int node = 0; node < NODES; node++) {
        snprintf(address, sizeof address, "127.0.0.1:%d", cny_cluster_port(cluster, node));
        if (info.state == CONEY_CONNECTION_OPEN && strstr(info.text, address))
            return node;
    }
    fail_msg("no node of the cluster in '%s'", info.text);
    return -1;
}

/* The node that the client consumes from, wherever it went; as a rule it publishes there, too. */
static int kill_one(void)
{
    uint64_t consuming = cny_traffic_info(CONEY_CONSUMING).times_opened;
    uint64_t publishing = cny_traffic_info(CONEY_PUBLISHING).times_opened;
    int node = node_of(CONEY_CONSUMING);
    publishing += node_of(CONEY_PUBLISHING) == node;
    cny_cluster_signal(cluster, node, "KILL");
    cny_traffic_wait_for_openings(CONEY_CONSUMING, consuming + 1, PATIENCE_MS);
    cny_traffic_wait_for_openings(CONEY_PUBLISHING, publishing, PATIENCE_MS);
    return node;
}

static void test_nodes_killed_one_after_another_lose_nothing(void **state)
{
    (void)state;
    int longest_ms = 0;
    for (int i = 0; i < NODES; i++) {
        cny_traffic_forget_gaps();
        int node = kill_one();
        cny_traffic_flow(MESSAGES, PATIENCE_MS);
        print_message("node %d killed: consuming again after %d ms\n", node, cny_traffic_longest_gap_ms());
        cny_cluster_restart(cluster, node);
        cny_traffic_flow(MESSAGES, PATIENCE_MS);
        if (cny_traffic_longest_gap_ms() > longest_ms)
            longest_ms = cny_traffic_longest_gap_ms();
    }
    print_message("the longest gap, the return of nodes included, was %d ms\n", longest_ms);
    cny_traffic_finish(PATIENCE_MS);
}

/* The node that is left cannot confirm anything; what is sent meanwhile waits. */
static void test_lost_majority_delays_and_loses_nothing(void **state)
{
    (void)state;
    cny_cluster_signal(cluster, 1, "KILL");
    cny_cluster_signal(cluster, 2, "KILL");
    poll(NULL, 0, 2000); /* long enough for all kinds of calls to run into it */
    cny_cluster_restart(cluster, 1);
    cny_traffic_flow(MESSAGES, PATIENCE_MS);
    cny_cluster_restart(cluster, 2);
    cny_traffic_flow(MESSAGES, PATIENCE_MS);
    cny_traffic_finish(PATIENCE_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nodes_killed_one_after_another_lose_nothing, start_traffic,
                                        cny_traffic_teardown),
        cmocka_unit_test_setup_teardown(test_lost_majority_delays_and_loses_nothing, start_traffic,
                                        cny_traffic_teardown),
    };
    return cmocka_run_group_tests_name("cluster", tests, start_cluster, stop_cluster);
}
