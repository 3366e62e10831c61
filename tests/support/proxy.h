/* SPDX-License-Identifier: MIT */
/* A network that misbehaves: a TCP proxy on a free port of 127.0.0.1 between a client and a real
 * broker. It knows nothing of AMQP; it loses, delays, cuts and trickles bytes.
 *
 * Every call is for the test's threads and has taken effect when it returns. A way is a direction
 * of the bytes. What passes a way follows the latest of pass, black hole, trickle, delay, rate and
 * cut_after, on connections that are there and on new ones; cut and reset are done once, to those
 * that are there. Nothing here waits without a deadline. */
#ifndef CNY_TEST_PROXY_H
#define CNY_TEST_PROXY_H

#include <stddef.h>

typedef struct cny_proxy cny_proxy;

typedef enum cny_way { CNY_TO_BROKER = 1, CNY_TO_CLIENT = 2, CNY_BOTH_WAYS = 3 } cny_way;

cny_proxy *cny_proxy_start(int target_port); /* on 127.0.0.1 */
int cny_proxy_port(const cny_proxy *proxy);
void cny_proxy_stop(cny_proxy *proxy); /* hangs up and frees; takes NULL */

/* The black hole keeps connections and accepts new ones, but bytes and hang-ups vanish in it. A
 * connection that has lost bytes stays silent that way when the others pass again, for what follows a
 * hole would be nonsense. */
void cny_proxy_pass(cny_proxy *proxy, cny_way ways);
void cny_proxy_black_hole(cny_proxy *proxy, cny_way ways);
void cny_proxy_trickle(cny_proxy *proxy, cny_way ways); /* one byte at a time */
void cny_proxy_delay(cny_proxy *proxy, cny_way ways, int ms);
void cny_proxy_rate(cny_proxy *proxy, cny_way ways, int bytes_per_s); /* of each connection */

/* Lets so many more bytes pass, on all connections together; then it cuts the one that carried the
 * last of them, and everything passes again. */
void cny_proxy_cut_after(cny_proxy *proxy, cny_way ways, size_t bytes);

/* The peer at the end of the way reads the end of the stream (FIN), the other way stays open. */
void cny_proxy_cut(cny_proxy *proxy, cny_way ways);

/* The peer at the end of the way is reset (RST). The other peer does not learn of it. */
void cny_proxy_reset(cny_proxy *proxy, cny_way ways);

/* No new connections: connecting is refused. Then the same port listens again. */
void cny_proxy_refuse(cny_proxy *proxy);
void cny_proxy_listen(cny_proxy *proxy);

int cny_proxy_accepted(cny_proxy *proxy); /* connections so far */
int cny_proxy_open(cny_proxy *proxy);     /* those that are there, in part at least */

#endif
