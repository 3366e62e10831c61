/* SPDX-License-Identifier: MIT */
/* Talks to cluster.sh over two pipes. */
#include "support/cluster.h"

#include "base/base.h"
#include "support/cmocka.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_NODES = 5, PATIENCE_MS = 300000 };

struct cny_cluster {
    int orders;  /* written to cluster.sh */
    int answers; /* read from it */
    char dir[200];
    int nodes;
    int ports[MAX_NODES];
    char uri[200];
};

/* --- cluster.sh --- */

static void run_script(cny_cluster *cluster, int nodes)
{
    char count[8];
    int orders[2], answers[2], status;
    pid_t child;
    posix_spawn_file_actions_t actions;
    snprintf(count, sizeof count, "%d", nodes);
    /* --fork, so that it is nobody's child: ctest kills the children of a test that takes too long. */
    static char script[] = CONEY_TEST_SUPPORT "/cluster.sh";
    char *args[] = {"setsid", "--fork", script, count, NULL};
    assert_int_equal(pipe2(orders, O_CLOEXEC), 0);
    assert_int_equal(pipe2(answers, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, orders[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, answers[1], STDOUT_FILENO);
    assert_int_equal(posix_spawnp(&child, args[0], &actions, NULL, args, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(orders[0]);
    close(answers[1]);
    cluster->orders = orders[1];
    cluster->answers = answers[0];
    assert_int_equal(waitpid(child, &status, 0), child);
}

static void read_answer(cny_cluster *cluster, char *line, size_t size)
{
    int64_t deadline = cny_now_ms() + PATIENCE_MS;
    size_t length = 0;
    do {
        struct pollfd answer = {cluster->answers, POLLIN, 0};
        int64_t left_ms = deadline - cny_now_ms();
        if (length + 1 == size || poll(&answer, 1, left_ms > 0 ? (int)left_ms : 0) <= 0 ||
            read(cluster->answers, line + length, 1) != 1)
            fail_msg("no answer from cluster.sh");
    } while (line[length++] != '\n');
    line[length - 1] = '\0';
    if (strcmp(line, "failed") == 0)
        fail_msg("cluster.sh has failed");
}

static int read_port(const cny_cluster *cluster, int node)
{
    char path[256], text[16] = "";
    snprintf(path, sizeof path, "%s/node%d/port", cluster->dir, node);
    FILE *stream = fopen(path, "re");
    assert_non_null(stream);
    size_t size = fread(text, 1, sizeof text - 1, stream);
    fclose(stream);
    assert_true(size > 0);
    return (int)strtol(text, NULL, 10);
}

/* --- the test's side --- */

bool cny_cluster_is_possible(void)
{
    return system(CONEY_TEST_SUPPORT "/cluster.sh possible") == 0;
}

cny_cluster *cny_cluster_start(int nodes)
{
    assert_int_in_range(nodes, 1, MAX_NODES);
    cny_cluster *cluster = calloc(1, sizeof *cluster);
    assert_non_null(cluster);
    run_script(cluster, nodes);
    read_answer(cluster, cluster->dir, sizeof cluster->dir);
    size_t length = (size_t)snprintf(cluster->uri, sizeof cluster->uri, "amqp://guest:guest@");
    for (int i = 0; i < nodes; i++) {
        cluster->ports[i] = read_port(cluster, i);
        length += (size_t)snprintf(cluster->uri + length, sizeof cluster->uri - length, "%s127.0.0.1:%d",
                                   i > 0 ? "," : "", cluster->ports[i]);
    }
    cluster->nodes = nodes;
    return cluster;
}

void cny_cluster_stop(cny_cluster *cluster)
{
    if (!cluster)
        return;
    close(cluster->orders); /* its end makes the script end the nodes, */
    struct pollfd end = {cluster->answers, POLLIN, 0};
    poll(&end, 1, PATIENCE_MS); /* and then itself */
    close(cluster->answers);
    free(cluster);
}

const char *cny_cluster_uri(const cny_cluster *cluster)
{
    return cluster->uri;
}

int cny_cluster_port(const cny_cluster *cluster, int node)
{
    return cluster->ports[node];
}

static bool try_signal(cny_cluster *cluster, int node, const char *signal)
{
    char command[256];
    snprintf(command, sizeof command, "%s/node%d/signal %s >/dev/null 2>&1", cluster->dir, node, signal);
    return system(command) == 0;
}

void cny_cluster_signal(cny_cluster *cluster, int node, const char *signal)
{
    assert_true(try_signal(cluster, node, signal));
}

void cny_cluster_restart(cny_cluster *cluster, int node)
{
    char line[64];
    int length = snprintf(line, sizeof line, "restart %d\n", node);
    assert_int_equal(write(cluster->orders, line, (size_t)length), length);
    read_answer(cluster, line, sizeof line);
}

void cny_cluster_ensure(cny_cluster *cluster, int node)
{
    if (!try_signal(cluster, node, "CONT"))
        cny_cluster_restart(cluster, node);
}

bool cny_cluster_try_ctl(cny_cluster *cluster, int node, const char *arguments)
{
    char command[1024];
    snprintf(command, sizeof command, "timeout %d %s/node%d/rabbitmqctl --quiet %s </dev/null >%s/ctl.log 2>&1",
             PATIENCE_MS / 1000, cluster->dir, node, arguments, cluster->dir);
    return system(command) == 0;
}

void cny_cluster_ctl(cny_cluster *cluster, int node, const char *arguments)
{
    char command[300];
    for (int tries = 3; tries > 0; tries--) { /* on a busy machine a node may not answer the first time */
        if (cny_cluster_try_ctl(cluster, node, arguments))
            return;
    }
    snprintf(command, sizeof command, "cat %s/ctl.log >&2", cluster->dir);
    fail_msg("rabbitmqctl %s has failed (%d)", arguments, system(command));
}
