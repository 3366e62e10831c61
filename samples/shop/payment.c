/* SPDX-License-Identifier: MIT */
/* Takes payments and tells the shop: one order.paid event each.
 *
 *   shop-payment [--count N] [--rate R] [--first ID]
 *
 * It declares the exchange and knows no service. A payment counts when the broker has confirmed
 * its event; until then many are under way at once (as many as the template's window allows).
 * Exits with 0 only if every event was confirmed. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ledger.h"
#include "shop.h"

#define CONFIRM_TIMEOUT_MS 30000

struct options {
    int64_t count;
    int64_t rate; /* a second; 0 is as fast as possible */
    int64_t first;
};

/* Written by the factory's events thread alone, read when that has come to its end. */
struct till {
    int ledger;
    int64_t confirmed;
    int64_t total_ns; /* of all waiting for confirms */
    int64_t slowest_ns;
    int64_t last_ns; /* when the last confirm came */
};

struct payment {
    struct till *till;
    int64_t id;
    int64_t sent_ns;
};

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void sleep_until(int64_t ns)
{
    struct timespec until = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static void on_confirm(coney_message *message, const coney_error *error, void *user)
{
    struct payment *payment = user;
    struct till *till = payment->till;
    (void)message;
    if (error) {
        /* CONEY_E_RETURNED, too: an event that no queue took would reach nobody, ever. */
        fprintf(stderr, "payment: order %" PRId64 ": %s\n", payment->id, error->text);
        return;
    }
    if (!ledger_append(till->ledger, payment->id)) {
        fprintf(stderr, "payment: ledger: %s\n", strerror(errno));
        return;
    }
    till->confirmed++;
    till->last_ns = now_ns();
    int64_t latency = till->last_ns - payment->sent_ns;
    till->total_ns += latency;
    if (latency > till->slowest_ns)
        till->slowest_ns = latency;
}

static struct order order_paid(int64_t id)
{
    static char *const customers[] = {"Ada", "Grace", "Linus", "Barbara", "Dennis"};
    static char *const items[] = {"carrots", "clover", "parsley"};
    return (struct order){.id = id,
                          .customer = customers[id % 5],
                          .item = items[id % 3],
                          .total_cents = 199 + id % 1000,
                          .currency = "EUR"};
}

static coney_status send_event(coney_template *events, struct payment *payment)
{
    struct order order = order_paid(payment->id);
    coney_message *message = NULL;
    coney_status status = coney_message_new_object(&message, &order_paid_type, &order, NULL);
    if (status == CONEY_OK)
        status = coney_template_send_async(events, ORDER_PAID, message, NULL, on_confirm, payment);
    coney_message_unref(message);
    return status;
}

static coney_status send_events(coney_template *events, const struct options *options, struct payment *payments)
{
    int64_t start_ns = now_ns();
    for (int64_t i = 0; i < options->count; i++) {
        if (options->rate > 0)
            sleep_until(start_ns + i * 1000000000 / options->rate);
        payments[i].sent_ns = now_ns();
        coney_status status = send_event(events, &payments[i]);
        if (status != CONEY_OK)
            return status;
    }
    return coney_template_wait_for_confirms(events, CONFIRM_TIMEOUT_MS);
}

static coney_status declare_exchange(coney_connection_factory *factory)
{
    coney_admin *admin = NULL;
    coney_status status = coney_admin_new(&admin, factory, NULL);
    if (status == CONEY_OK)
        status = coney_admin_declare_exchange(admin, &shop_events);
    coney_admin_free(admin);
    return status;
}

static coney_status open_template(coney_template **events, coney_connection_factory *factory)
{
    /* 1,000 unconfirmed messages keep the broker busy, and a confirm does not wait for thousands of others. */
    coney_template_options options = {.exchange = shop_events.name, .max_unconfirmed = 1000};
    return coney_template_new(events, factory, &options);
}

static void take_payments(const struct options *options, struct payment *payments)
{
    coney_connection_factory *factory = NULL;
    coney_template *events = NULL;
    coney_status status = coney_connection_factory_new(&factory, shop_uri(), NULL);
    if (status == CONEY_OK)
        status = coney_connection_factory_connect(factory);
    if (status == CONEY_OK)
        status = declare_exchange(factory);
    if (status == CONEY_OK)
        status = open_template(&events, factory);
    if (status == CONEY_OK)
        status = send_events(events, options, payments);
    if (status != CONEY_OK)
        fprintf(stderr, "payment: %s\n", coney_last_error());

    coney_template_free(events);
    coney_connection_factory_free(factory); /* from here on no callback runs */
}

static void report(const struct till *till, const struct options *options, int64_t start_ns)
{
    double seconds = (double)(till->last_ns - start_ns) / 1e9;
    if (till->confirmed < options->count)
        printf("%" PRId64 " of %" PRId64 " payments failed\n", options->count - till->confirmed, options->count);
    if (till->confirmed > 0) {
        double average_ms = (double)till->total_ns / (double)till->confirmed / 1e6;
        printf("%" PRId64 " confirmed in %.2f s, %.0f/s; latency %.1f ms, at worst %.1f ms\n", till->confirmed, seconds,
               (double)till->confirmed / seconds, average_ms, (double)till->slowest_ns / 1e6);
    }
}

static bool parse_options(struct options *options, int argc, char **argv)
{
    static const struct option known[] = {
        {"count", required_argument, NULL, 'c'},
        {"rate", required_argument, NULL, 'r'},
        {"first", required_argument, NULL, 'f'},
        {0},
    };
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        int64_t *value = option == 'c' ? &options->count : option == 'r' ? &options->rate : &options->first;
        if (option == '?' || !parse_number(value, optarg))
            return false;
    }
    return options->count > 0;
}

int main(int argc, char **argv)
{
    struct options options = {.count = 10, .first = 1};
    if (!parse_options(&options, argc, argv)) {
        fprintf(stderr, "usage: shop-payment [--count N] [--rate R] [--first ID]\n");
        return EXIT_FAILURE;
    }
    struct till till = {.ledger = ledger_open("payment")};
    struct payment *payments = calloc((size_t)options.count, sizeof *payments);
    if (till.ledger < 0 || !payments) {
        perror("payment");
        free(payments);
        return EXIT_FAILURE;
    }
    for (int64_t i = 0; i < options.count; i++)
        payments[i] = (struct payment){.till = &till, .id = options.first + i};

    take_payments(&options, payments);
    report(&till, &options, payments[0].sent_ns);
    free(payments);
    return till.confirmed == options.count ? EXIT_SUCCESS : EXIT_FAILURE;
}
