/* SPDX-License-Identifier: MIT */
/* Keeps accounts: the bookings of one account in their order, bookings of several accounts at the same time.
 *
 *   ordered [URI]
 *
 * There is one queue and one consumer, whose messages are handled on four lanes. Messages of the same routing key, here
 * the account, go through the same lane, one after another. */
#include <coney/coney.h>

#include <inttypes.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BOOKINGS "sample.bookings"

enum { ACCOUNTS = 4, BOOKINGS_EACH = 50, BOOKING_MS = 20, PATIENCE_S = 15 };

/* A hash assigns keys to lanes; these four keys happen to get a lane each. */
static const char *const accounts[ACCOUNTS] = {"account.1", "account.2", "account.3", "account.4"};

/* One ledger for each account. Only the lane of the account uses the ledger, so no lock is needed. */
static struct ledger {
    int bookings;
    int64_t last; /* number of the last booking */
} ledgers[ACCOUNTS];

static atomic_int out_of_order, at_work, most_at_work;
static sem_t booked;

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

static void work(void)
{
    int workers = ++at_work, most = most_at_work;
    while (workers > most && !atomic_compare_exchange_weak(&most_at_work, &most, workers))
        ;
    nanosleep(&(struct timespec){.tv_nsec = BOOKING_MS * 1000000L}, NULL);
    at_work--;
}

struct booking {
    int64_t account;
    int64_t number;
};

static const coney_field booking_fields[] = {
    CONEY_FIELD(struct booking, account, CONEY_INT64, CONEY_RANGE(0, ACCOUNTS - 1)), /* anybody may send bookings */
    CONEY_FIELD(struct booking, number, CONEY_INT64),
};
static const coney_type booking_type = CONEY_TYPE("bank.Booking", struct booking, booking_fields);

static coney_outcome book(coney_delivery *delivery, void *user)
{
    const struct booking *booking = coney_delivery_payload(delivery);
    struct ledger *ledger = &ledgers[booking->account];
    (void)user;
    work();
    if (booking->number != ledger->last + 1)
        out_of_order++;
    ledger->last = booking->number;
    ledger->bookings++;
    sem_post(&booked);
    return CONEY_ACK;
}

static bool listen_to_bookings(coney_container *container)
{
    coney_listener listener = {
        .queue = BOOKINGS,
        .on_message = book,
        .type = &booking_type,
        .lanes = ACCOUNTS, /* the key is the routing key, unless .lane_header names a header */
    };
    return coney_container_listen(container, &listener) == CONEY_OK && coney_container_start(container) == CONEY_OK;
}

/* Sends bookings of the accounts in turn, as they come in at a bank. */
static bool send_bookings(coney_template *sender)
{
    bool sent = true;
    for (int i = 0; i < ACCOUNTS * BOOKINGS_EACH && sent; i++) {
        struct booking booking = {.account = i % ACCOUNTS, .number = i / ACCOUNTS + 1};
        sent = coney_template_send_object(sender, accounts[i % ACCOUNTS], &booking_type, &booking, NULL) == CONEY_OK;
    }
    return sent;
}

static bool wait_for_bookings(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    int count = 0;
    while (count < ACCOUNTS * BOOKINGS_EACH && sem_timedwait(&booked, &until) == 0)
        count++;
    return count == ACCOUNTS * BOOKINGS_EACH;
}

static bool report(int64_t took_ms)
{
    for (int i = 0; i < ACCOUNTS; i++)
        printf("%s: %d bookings, the last one is number %" PRId64 "\n", accounts[i], ledgers[i].bookings,
               ledgers[i].last);
    printf("%d bookings out of order\n", out_of_order);
    printf("%" PRId64 " ms with up to %d accounts at once; one booking after another takes %d ms\n", took_ms,
           most_at_work, ACCOUNTS * BOOKINGS_EACH * BOOKING_MS);
    return out_of_order == 0 && most_at_work == ACCOUNTS;
}

/* All bookings are sent before the first is handled, so that only handling takes time. */
static bool run(coney_connection_factory *factory, coney_admin *admin)
{
    coney_template *sender = NULL;
    coney_container *container = NULL;
    bool done = coney_template_new(&sender, factory, &(coney_template_options){.exchange = "amq.topic"}) == CONEY_OK &&
                send_bookings(sender) && coney_container_new(&container, factory, NULL) == CONEY_OK;
    int64_t start_ms = now_ms();
    done = done && listen_to_bookings(container) && wait_for_bookings() && report(now_ms() - start_ms);
    coney_container_free(container);
    coney_template_free(sender);
    return coney_admin_delete_queue(admin, BOOKINGS, NULL) == CONEY_OK && done;
}

static bool declare_queue(coney_admin *admin)
{
    const coney_binding binding = {.exchange = "amq.topic", .destination = BOOKINGS, .routing_key = "account.*"};
    return coney_admin_delete_queue(admin, BOOKINGS, NULL) == CONEY_OK &&
           coney_admin_declare_queue(admin, &(coney_queue){.name = BOOKINGS}, NULL) == CONEY_OK &&
           coney_admin_declare_binding(admin, &binding) == CONEY_OK;
}

int main(int argc, char **argv)
{
    const char *uri = argc > 1 ? argv[1] : getenv("CONEY_URI");
    coney_connection_factory *factory = NULL;
    coney_admin *admin = NULL;
    sem_init(&booked, 0, 0);
    bool done = coney_connection_factory_new(&factory, uri ? uri : "amqp://guest:guest@localhost", NULL) == CONEY_OK &&
                coney_admin_new(&admin, factory, NULL) == CONEY_OK && declare_queue(admin) && run(factory, admin);
    if (!done)
        fprintf(stderr, "not as told: %s\n", coney_last_error());
    coney_admin_free(admin);
    coney_connection_factory_free(factory);
    sem_destroy(&booked);
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
