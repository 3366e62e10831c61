/* SPDX-License-Identifier: MIT */
/* Private RabbitMQ nodes for a test that kills them or changes their settings: one, or several in one cluster.
 * cluster.sh starts them, and ends them when this program ends in whatever way. RabbitMQ is the same as for ./dev:
 * the installed one, that of CONEY_RELEASE or that of CONEY_BROKER_IMAGE. CONEY_TEST_URI does not count here.
 *
 * All calls fail the test if they do not succeed within five minutes. */
#ifndef CNY_TEST_CLUSTER_H
#define CNY_TEST_CLUSTER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct cny_cluster cny_cluster;

/* There is a RabbitMQ to start. */
bool cny_cluster_is_possible(void);

cny_cluster *cny_cluster_start(int nodes);
void cny_cluster_stop(cny_cluster *cluster); /* takes NULL */

/* amqp:// with user guest and the addresses of all nodes, without a virtual host. */
const char *cny_cluster_uri(const cny_cluster *cluster);
int cny_cluster_port(const cny_cluster *cluster, int node);

/* KILL, STOP, CONT. */
void cny_cluster_signal(cny_cluster *cluster, int node, const char *signal);

/* Starts a node, killing it first if it lives, on the data it had; it serves when this returns. */
void cny_cluster_restart(cny_cluster *cluster, int node);

/* Makes a node run that an earlier test, which failed, has left stopped or dead. */
void cny_cluster_ensure(cny_cluster *cluster, int node);

/* Runs rabbitmqctl for the node; the first one wants success. The arguments are a shell's. */
void cny_cluster_ctl(cny_cluster *cluster, int node, const char *arguments);
bool cny_cluster_try_ctl(cny_cluster *cluster, int node, const char *arguments);

#endif
