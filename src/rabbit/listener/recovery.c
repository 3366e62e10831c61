/* SPDX-License-Identifier: MIT */
/* What becomes of a message whose attempts are used up: the next rung of the ladder, or the recovery. Whatever is
 * published is confirmed before the original is acknowledged, so a message may be there twice but never not at all.
 * Runs on the thread that settles, with no lock held. */
#include "rabbit/listener/listener.h"

#include <stdio.h>
#include <string.h>

#define MAX_TEXT 1000 /* of the header that tells why: all headers must fit one frame */

/* ---- the copy that is published ---- */

/* The broker counts anew, what it or somebody else wrote for the original does not hold for the copy, and that goes to
 * one queue, not once more to those it was copied to (CC). As in Spring a retry-count stays, for people to read. */
static bool is_left_out(const char *name, bool is_back)
{
    static const char *const names[] = {
        "CC", "BCC", "x-death", "x-delivery-count", "x-acquired-count", CONEY_HEADER_EXCEPTION_MESSAGE};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    bool is_origin =
        strcmp(name, CONEY_HEADER_ORIGINAL_EXCHANGE) == 0 || strcmp(name, CONEY_HEADER_ORIGINAL_ROUTING_KEY) == 0;
    return (is_origin && !is_back) || strncmp(name, "x-first-death-", 14) == 0 ||
           strncmp(name, "x-last-death-", 13) == 0;
}

/* Views, unchecked: another client may have sent what Coney would not, and that must be parked like anything else. */
static bool copy_headers(coney_table *to, const coney_table *from, bool is_back)
{
    for (size_t i = 0; i < coney_table_size(from); i++) {
        const char *name = coney_table_name_at(from, i);
        if (!is_left_out(name, is_back) && !cny_table_put(to, name, *coney_table_value_at(from, i)))
            return false;
    }
    return true;
}

static bool set_text(coney_table *headers, const char *name, const char *text)
{
    char kept[MAX_TEXT + 1];
    snprintf(kept, sizeof kept, "%s", text);
    ptrdiff_t broken = cny_utf8_error(kept, strlen(kept)); /* where it was cut, perhaps */
    if (broken >= 0)
        kept[broken] = '\0';
    return coney_table_set_string(headers, name, kept) == CONEY_OK;
}

/* From the ladder it comes with those it had before; what others wrote there is no better than in Spring. */
static bool set_origin(coney_table *headers, const char *name, const char *text)
{
    return coney_table_get(headers, name) || cny_table_put(headers, name, coney_value_string(text));
}

static int attempts_made(const coney_delivery *delivery)
{
    return delivery->is_moved ? delivery->earlier_attempts : coney_delivery_attempt(delivery);
}

static coney_value ended_by(const coney_delivery *delivery)
{
    return coney_value_string(delivery->consumer->listener->quarantine.queue);
}

static bool fill_headers(coney_table *headers, const coney_delivery *delivery, int round, bool with_text)
{
    const coney_message *origin = delivery->origin;
    bool is_back = cny_is_own_copy(delivery->consumer, origin);
    return copy_headers(headers, origin->properties.headers, is_back) &&
           set_origin(headers, CONEY_HEADER_ORIGINAL_EXCHANGE, origin->exchange) &&
           set_origin(headers, CONEY_HEADER_ORIGINAL_ROUTING_KEY, origin->routing_key) &&
           coney_table_set_int64(headers, CONEY_HEADER_ATTEMPTS, attempts_made(delivery)) == CONEY_OK &&
           (!delivery->is_condemned || cny_table_put(headers, CNY_HEADER_ENDED_BY, ended_by(delivery))) &&
           (round == 0 || coney_table_set_int64(headers, CONEY_HEADER_RETRY_COUNT, round) == CONEY_OK) &&
           (!with_text || set_text(headers, CONEY_HEADER_EXCEPTION_MESSAGE, cny_failure_text(delivery)));
}

/* With its old expiration it would be gone where it is to wait for a person. */
static coney_status make_copy(coney_message **copy, coney_delivery *delivery, int round, bool with_text)
{
    coney_table *headers = coney_table_new();
    coney_status status = headers && fill_headers(headers, delivery, round, with_text) ? CONEY_OK : cny_fail_memory();
    if (status == CONEY_OK) {
        coney_properties properties = delivery->origin->properties;
        properties.headers = headers;
        properties.delivery_mode = CONEY_PERSISTENT;
        properties.expiration = NULL;
        status = cny_message_with(copy, delivery->origin, &properties);
    }
    coney_table_free(headers);
    return status;
}

static coney_status publish_copy(coney_delivery *delivery, const char *exchange, const char *routing_key, int round,
                                 bool with_text)
{
    coney_container *container = delivery->consumer->container;
    coney_message *copy;
    coney_status status = make_copy(&copy, delivery, round, with_text);
    if (status != CONEY_OK)
        return status;
    status = cny_container_publish(container, &container->failed, exchange, routing_key, copy, true);
    coney_message_unref(copy);
    return status;
}

/* Headers that just fit a frame before may not any more. */
static coney_status republish(coney_delivery *delivery, const char *exchange, const char *routing_key, int round)
{
    bool has_text = delivery->failure || !delivery->is_moved;
    coney_status status = publish_copy(delivery, exchange, routing_key, round, has_text);
    if (status == CONEY_E_INVALID)
        status = publish_copy(delivery, exchange, routing_key, round, false);
    if (status == CONEY_OK)
        cny_count(&delivery->consumer->listener->counters.republished);
    return status;
}

coney_status cny_republish(coney_delivery *delivery, const char *queue)
{
    return republish(delivery, "", queue, 0);
}

/* Its queue may have been deleted; then it is declared again, and that is all there is to try. */
static coney_status republish_to(coney_delivery *delivery, const char *queue, int round)
{
    coney_container *container = delivery->consumer->container;
    coney_status status = republish(delivery, "", queue, round);
    if (status != CONEY_E_RETURNED)
        return status;
    cny_declarations_restore(container->factory, queue);
    status = cny_declarations_wait(container->factory, "", queue, cny_deadline(container->options.publish_timeout_ms));
    return status == CONEY_OK ? republish(delivery, "", queue, round) : status;
}

static coney_outcome not_republished(coney_delivery *delivery)
{
    cny_listener *listener = delivery->consumer->listener;
    cny_complain(listener, CNY_COMPLAINT_REPUBLISHING, CONEY_LOG_ERROR, delivery->origin,
                 "queue '%s': message '%s' cannot be republished and goes back: %s", listener->options.queue,
                 cny_id_of(delivery->origin), coney_last_error());
    return CONEY_REQUEUE;
}

/* ---- the ladder ---- */

/* Of one that could not be read there is less here than at the broker: only that can hand it on whole. */
static bool is_incomplete(const coney_delivery *delivery)
{
    return delivery->origin->defect != NULL;
}

coney_outcome cny_climb(coney_delivery *delivery, int round)
{
    const cny_listener *listener = delivery->consumer->listener;
    if (is_incomplete(delivery))
        return cny_recover(delivery);
    return republish_to(delivery, listener->delay_queues[round], round + 1) == CONEY_OK ? CONEY_ACK
                                                                                        : not_republished(delivery);
}

/* ---- the recovery ---- */

static void tell_recovered(const coney_delivery *delivery, const char *what)
{
    cny_listener *listener = delivery->consumer->listener;
    char text[1200], after[40] = "";
    if (delivery->prepared || delivery->is_moved) { /* else no handler has tried */
        int made = attempts_made(delivery);
        snprintf(after, sizeof after, " after %d attempt%s", made, made == 1 ? "" : "s");
    }
    snprintf(text, sizeof text, "message '%s' %s%s: %s", cny_id_of(delivery->origin), what, after,
             cny_failure_text(delivery));
    cny_complain(listener, CNY_COMPLAINT_RECOVERY, CONEY_LOG_WARN, delivery->origin, "queue '%s': %s",
                 listener->options.queue, text);
    cny_tell(delivery->consumer->container, &(cny_event){.kind = CONEY_MESSAGE_RECOVERED,
                                                         .listener = listener,
                                                         .consumer_tag = coney_delivery_consumer_tag(delivery),
                                                         .message = delivery->origin,
                                                         .error = delivery->failure,
                                                         .text = text});
}

coney_outcome cny_pass_over(coney_delivery *delivery)
{
    char what[64];
    long long offset = coney_table_get_int64(delivery->origin->properties.headers, "x-stream-offset", -1);
    snprintf(what, sizeof what, "at offset %lld is passed over", offset);
    cny_count(&delivery->consumer->listener->counters.passed_over);
    tell_recovered(delivery, what);
    return CONEY_ACK;
}

/* Not that of its way back from the ladder. */
const char *cny_original_routing_key(const cny_listener *listener, const coney_message *message)
{
    const char *original = coney_table_get_string(message->properties.headers, CONEY_HEADER_ORIGINAL_ROUTING_KEY);
    return original && (cny_rounds(listener, message) > 0 || cny_is_condemned(listener, message))
               ? original
               : message->routing_key;
}

static coney_outcome recover_elsewhere(coney_delivery *delivery)
{
    const cny_listener *listener = delivery->consumer->listener;
    const coney_listener_retry *retry = &listener->options.retry;
    char key[CNY_MAX_SHORT_STRING + 8];
    snprintf(key, sizeof key, "error.%.255s", cny_original_routing_key(listener, delivery->origin));
    key[CNY_MAX_SHORT_STRING] = '\0';
    const char *exchange = retry->exchange ? retry->exchange : "";
    const char *routing_key = retry->routing_key ? retry->routing_key : key;
    return republish(delivery, exchange, routing_key, 0) == CONEY_OK ? CONEY_ACK : not_republished(delivery);
}

static coney_outcome park(coney_delivery *delivery)
{
    const char *queue = delivery->consumer->listener->options.retry.parking_queue;
    return republish_to(delivery, queue, 0) == CONEY_OK ? CONEY_ACK : not_republished(delivery);
}

/* The program's recoverer may say anything but that nothing is decided. */
static coney_outcome ask_recoverer(coney_delivery *delivery)
{
    cny_listener *listener = delivery->consumer->listener;
    const coney_listener *options = &listener->options;
    coney_outcome outcome = options->retry.recoverer(delivery, cny_error_view(delivery->failure), options->user);
    cny_delivery_adopt_failure(delivery);
    if (outcome == CONEY_ACK || outcome == CONEY_REJECT || outcome == CONEY_REQUEUE)
        return outcome;
    cny_complain(listener, CNY_COMPLAINT_OUTCOME, CONEY_LOG_ERROR, delivery->origin,
                 "queue '%s': message '%s': the recoverer returned %d, which is neither CONEY_ACK, CONEY_REJECT nor "
                 "CONEY_REQUEUE; that counts as CONEY_REQUEUE",
                 options->queue, cny_id_of(delivery->origin), (int)outcome);
    return CONEY_REQUEUE;
}

static coney_outcome recover(coney_delivery *delivery, coney_recovery recovery)
{
    coney_outcome verdict = CONEY_REJECT;
    const char *what = "is rejected";
    if (is_incomplete(delivery) && (recovery == CONEY_RECOVER_REPUBLISH || recovery == CONEY_RECOVER_PARK))
        recovery = CONEY_RECOVER_REJECT;
    switch (recovery) {
    case CONEY_RECOVER_DEFAULT:
    case CONEY_RECOVER_REJECT: break;
    case CONEY_RECOVER_REPUBLISH: verdict = recover_elsewhere(delivery), what = "is republished"; break;
    case CONEY_RECOVER_REQUEUE: verdict = CONEY_REQUEUE, what = "goes back"; break;
    case CONEY_RECOVER_PARK: verdict = park(delivery), what = "is parked"; break;
    case CONEY_RECOVER_CALL: verdict = ask_recoverer(delivery), what = "is left to the recoverer"; break;
    }
    if (verdict == CONEY_REJECT && cny_listener_is_stream(delivery->consumer->listener)) {
        cny_count(&delivery->consumer->listener->counters.recovered);
        return cny_pass_over(delivery);
    }
    bool may_go_back = recovery == CONEY_RECOVER_REQUEUE || recovery == CONEY_RECOVER_CALL;
    bool is_done = verdict != CONEY_REQUEUE || may_go_back; /* else it could not be published */
    if (is_done) {
        cny_count(&delivery->consumer->listener->counters.recovered);
        tell_recovered(delivery, what);
    }
    return verdict;
}

coney_outcome cny_recover(coney_delivery *delivery)
{
    return recover(delivery, delivery->consumer->listener->options.retry.recovery);
}

coney_outcome cny_park(coney_delivery *delivery)
{
    return recover(delivery, CONEY_RECOVER_PARK);
}
