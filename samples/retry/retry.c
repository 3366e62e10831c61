/* SPDX-License-Identifier: MIT */
/* Charges cards, at a bank that does not always accept them.
 *
 *   retry [URI]
 *
 * Two cards are refused twice before they are accepted, one card is always refused, and one message is not JSON. The
 * handler returns that it has failed, with a reason. The listener's .retry says what happens then. */
#include <coney/coney.h>

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CARDS "sample.cards"
#define PARKING CARDS ".parking" /* Coney puts messages here whose attempts are used up, for a person */
#define PATIENCE_MS 15000

static const struct card {
    const char *number;
    int refusals; /* by the bank, before it accepts the card */
} cards[] = {{"4000-01", 0}, {"4000-02", 2}, {"4000-03", 2}, {"4000-13", 1000}};
enum { CARDS_COUNT = sizeof cards / sizeof *cards, GOOD_CARDS = CARDS_COUNT - 1 };

static int64_t start_ms;
static atomic_int charged;

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

static bool bank_accepts(const char *number, int attempt)
{
    int i = 0;
    while (i < CARDS_COUNT - 1 && strcmp(cards[i].number, number) != 0)
        i++;
    return attempt > cards[i].refusals;
}

struct payment {
    const char *card;
};

static const coney_field payment_fields[] = {CONEY_FIELD(struct payment, card, CONEY_STRING)};
static const coney_type payment_type = CONEY_TYPE("cards.Payment", struct payment, payment_fields);

static coney_outcome charge(coney_delivery *delivery, void *user)
{
    const struct payment *payment = coney_delivery_payload(delivery);
    const char *number = payment->card;
    int attempt = coney_delivery_attempt(delivery);
    bool accepted = bank_accepts(number, attempt);
    (void)user;
    printf("%5" PRId64 " ms  card %s, attempt %d: %s\n", now_ms() - start_ms, number, attempt,
           accepted ? "charged" : "refused");
    if (!accepted)
        return coney_delivery_fail(delivery, CONEY_RETRY, "the bank refuses card %s", number);
    charged++;
    return CONEY_ACK;
}

/* Two attempts in place, two more after half a second, and the last two a second later. */
static bool listen_to_cards(coney_container *container)
{
    coney_listener listener = {
        .queue = CARDS,
        .on_message = charge,
        .type = &payment_type,
        .retry = {.max_attempts = 2, .first_delay_ms = 100, .delays_ms = {500, 1000}},
    };
    return coney_container_listen(container, &listener) == CONEY_OK && coney_container_start(container) == CONEY_OK;
}

static bool send_cards(coney_template *sender)
{
    coney_message *scrawl = NULL;
    bool sent = coney_message_new(&scrawl, "card 4000-99!", 13, NULL) == CONEY_OK &&
                coney_template_send(sender, CARDS, scrawl, NULL) == CONEY_OK;
    coney_message_unref(scrawl);
    for (int i = 0; i < CARDS_COUNT && sent; i++) {
        struct payment payment = {.card = cards[i].number};
        sent = coney_template_send_object(sender, CARDS, &payment_type, &payment, NULL) == CONEY_OK;
    }
    return sent;
}

/* Waits for the next message that is parked. */
static bool show_parked(coney_template *receiver)
{
    coney_message *message = NULL;
    if (coney_template_receive(receiver, PARKING, &message, PATIENCE_MS) != CONEY_OK || !message)
        return false;
    const coney_table *headers = coney_message_properties(message)->headers;
    const char *why = coney_table_get_string(headers, CONEY_HEADER_EXCEPTION_MESSAGE);
    printf("%5" PRId64 " ms  in %s: %.*s", now_ms() - start_ms, PARKING, (int)coney_message_size(message),
           (const char *)coney_message_body(message));
    if (why)
        printf(" at attempt %" PRId64 ", because %s", coney_table_get_int64(headers, CONEY_HEADER_ATTEMPTS, 0), why);
    printf("\n");
    coney_message_unref(message);
    return why != NULL;
}

static bool delete_queues(coney_admin *admin)
{
    static const char *const queues[] = {CARDS, PARKING, CARDS ".retry.500", CARDS ".retry.1000"};
    bool done = true;
    for (size_t i = 0; i < sizeof queues / sizeof *queues; i++)
        done &= coney_admin_delete_queue(admin, queues[i], NULL) == CONEY_OK;
    return done;
}

/* Coney alone uses the other three queues. */
static bool declare_queue(coney_admin *admin)
{
    return coney_admin_declare_queue(admin, &(coney_queue){.name = CARDS}, NULL) == CONEY_OK;
}

static bool run(coney_connection_factory *factory)
{
    coney_admin *admin = NULL;
    coney_container *container = NULL;
    coney_template *sender = NULL;
    bool done = coney_admin_new(&admin, factory, NULL) == CONEY_OK && delete_queues(admin) && declare_queue(admin) &&
                coney_container_new(&container, factory, NULL) == CONEY_OK && listen_to_cards(container) &&
                coney_template_new(&sender, factory, NULL) == CONEY_OK && send_cards(sender) && show_parked(sender) &&
                show_parked(sender) && charged == GOOD_CARDS;
    printf("%d of %d cards are charged\n", charged, CARDS_COUNT);
    coney_template_free(sender);
    coney_container_free(container);
    done &= delete_queues(admin);
    coney_admin_free(admin);
    return done;
}

int main(int argc, char **argv)
{
    const char *uri = argc > 1 ? argv[1] : getenv("CONEY_URI");
    coney_connection_factory *factory = NULL;
    start_ms = now_ms();
    coney_log_set_level(CONEY_LOG_OFF); /* the log has a line for each of these failures */
    bool done = coney_connection_factory_new(&factory, uri ? uri : "amqp://guest:guest@localhost", NULL) == CONEY_OK &&
                run(factory);
    if (!done)
        fprintf(stderr, "not as told: %s\n", coney_last_error());
    coney_connection_factory_free(factory);
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
