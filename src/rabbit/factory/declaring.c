/* SPDX-License-Identifier: MIT */
/* Declares what is wanted and due: many requests on their way at a time, over several channels when there is much,
 * exchanges before queues before bindings. A refusal costs its channel; what was sent there after the refused thing is
 * sent again on another one. */
#include "rabbit/factory/declaring.h"
#include "rabbit/factory/parts.h"

#include <stdio.h>
#include <string.h>

#define ENOUGH_FOR_ONE 200   /* declarations; more are worth another channel */
#define LOCKED_DELAY_MS 5000 /* an exclusive queue comes free when the broker has seen the end of its connection */
#define FIRST_DELAY_MS 1000
#define MAX_DELAY_MS 30000
#define WINDOW_OF_SUSPECTS 8 /* what is sent after a thing without an answer has to be sent again */
#define UNUSED_MS 4000       /* for an answer while nobody uses the connection; recovery.c opens that later */
#define END_MS 1000          /* for the end of such a connection */

/* ---- what is told ---- */

static void describe_request(const cny_declaration *item, char *text, size_t size)
{
    if (!cny_is_binding(item)) {
        snprintf(text, size, "declare %s '%s'", item->kind == CNY_DECLARE_QUEUE ? "queue" : "exchange",
                 cny_declaration_name(item));
    } else {
        const coney_binding *binding = item->thing;
        snprintf(text, size, "bind %s '%s' to exchange '%s' with routing key '%s'",
                 binding->to_exchange ? "exchange" : "queue", binding->destination, binding->exchange,
                 binding->routing_key ? binding->routing_key : "");
    }
}

static const char *way_out(const cny_declaration *item, cny_declaration_state state, const coney_error *error)
{
    bool is_there = state == CNY_DECLARATION_FOUND, is_queue = item->kind == CNY_DECLARE_QUEUE;
    if (error->status == CONEY_E_PRECONDITION_FAILED && is_there)
        return is_queue ? "; it is there with other properties. Declare it as it is (a policy can change its limits), "
                          "take another name, or delete it and call coney_admin_declare()"
                        : "; it is there with other properties. Declare it as it is, take another name, or delete it "
                          "and call coney_admin_declare()";
    if (error->status == CONEY_E_ACCESS_REFUSED && is_there)
        return cny_is_binding(item) ? "; whether it is there cannot be seen without that permission"
                                    : "; it is there and is used as it is";
    if (error->status == CONEY_E_ACCESS_REFUSED)
        return "; give the user the permission to configure it, or have somebody else declare it";
    if (item->kind == CNY_DECLARE_EXCHANGE && ((const coney_exchange *)item->thing)->custom_type)
        return "; check its custom_type, whose plugin may not be enabled";
    if (error->status == CONEY_E_NOT_FOUND)
        return "; it is bound as soon as that is declared here, and looked for again now and then";
    return "";
}

/* Without a lock: whoever wants to know that a declaration was refused, or is made after all. */
static void tell(coney_connection_factory *factory, const coney_declaration *news)
{
    bool is_refused = news->state != CONEY_DECLARATION_DECLARED;
    if (is_refused)
        cny_log(CONEY_LOG_WARN, "%s", news->text);
    else
        cny_log(CONEY_LOG_INFO, "declared after all, after: %s", news->text);
    cny_tell_declaration(factory, news);
    cny_buffer members = {0};
    pthread_mutex_lock(&factory->lock);
    bool got = is_refused && cny_factory_members(factory, &members);
    pthread_mutex_unlock(&factory->lock);
    const cny_membership *all = (const cny_membership *)(const void *)members.data;
    for (size_t i = 0; got && i < members.size / sizeof *all; i++) {
        if (all[i].member->on_declaration)
            all[i].member->on_declaration(all[i].self, news);
    }
    cny_members_free(&members);
}

enum { INTERNAL_ERROR = 541 }; /* AMQP's reply code; a cluster that is not complete answers so, too */

/* ---- outcomes ---- */

/* Under lock. */
static void set_error(cny_declaration *item, cny_error *error)
{
    const coney_error *old = cny_error_view(item->error), *new = cny_error_view(error);
    if (old && new &&strcmp(old->text, new->text) != 0)
        item->is_told = false;
    cny_error_unref(item->error);
    item->error = error ? cny_error_ref(error) : NULL;
}

static void delay_next(cny_declaration *item, int most_ms)
{
    item->delay_ms = cny_backoff(item->delay_ms, FIRST_DELAY_MS, 2, most_ms);
    item->due_at = cny_deadline(item->delay_ms);
}

static bool may_be_there(const cny_declaration *item, coney_status status)
{
    return !cny_is_binding(item) && (status == CONEY_E_PRECONDITION_FAILED || status == CONEY_E_ACCESS_REFUSED);
}

/* RabbitMQ 4.3 says so of transient queues, for example, as the node's configuration has it. */
static bool is_denied(const coney_error *error)
{
    return error->broker_code == INTERNAL_ERROR && strstr(error->text, "use is not permitted");
}

/* Under lock: what the broker's refusal means. A binding cannot be looked at; who may not bind has others who do. A
 * queue over which the broker closes the connection may be refused by one node, or today, unless that is denied. */
static cny_declaration_state state_after(coney_connection_factory *factory, const cny_declaration *item,
                                         const coney_error *error, bool closes_connection)
{
    bool is_binding = cny_is_binding(item);
    bool may_pass = error->status == CONEY_E_RESOURCE_LOCKED || error->status == CONEY_E_TIMEOUT ||
                    error->status == CONEY_E_LOST || error->broker_code == INTERNAL_ERROR ||
                    (closes_connection && item->kind == CNY_DECLARE_QUEUE);
    if (is_denied(error))
        return CNY_DECLARATION_REFUSED;
    if (is_binding && error->status == CONEY_E_ACCESS_REFUSED)
        return CNY_DECLARATION_FOUND;
    if (is_binding && error->status == CONEY_E_NOT_FOUND && cny_declarations_await_end(factory, item))
        return CNY_DECLARATION_WANTED;
    return may_pass ? CNY_DECLARATION_WANTED : CNY_DECLARATION_REFUSED;
}

/* Under lock: takes down what is to be told; false if nothing is. */
static bool take_refusal(cny_declaration *item, coney_declaration *news)
{
    if (item->is_told || !item->error)
        return false;
    item->is_told = true;
    cny_error_unref(item->told);
    item->told = cny_error_ref(item->error);
    cny_declaration_describe(item, news);
    return true;
}

/* Under lock: the refusal that the program was told of is over, however long ago that was. */
static bool take_success(cny_declaration *item, coney_declaration *news)
{
    bool was_told = item->told != NULL;
    set_error(item, item->told);
    if (was_told)
        cny_declaration_describe(item, news);
    set_error(item, NULL);
    cny_error_unref(item->told);
    item->told = NULL;
    item->is_told = false;
    return was_told;
}

/* Under lock: the connection was lost meanwhile, and everything is wanted again. */
static bool is_outdated(const cny_run *one)
{
    return !one->is_isolated && one->factory->slots[cny_connection_role(one->connection)].connection != one->connection;
}

/* The item's state is known: error is NULL if the broker has declared it. Another run may have
 * declared or found the thing meanwhile, and then a refusal is of no interest. */
static void conclude(cny_run *one, cny_declaration *item, cny_declaration_state state, cny_error *error)
{
    coney_declaration news;
    coney_connection_factory *factory = one->factory;
    bool has_news = false;
    pthread_mutex_lock(&factory->lock);
    bool is_there = item->state == CNY_DECLARATION_DECLARED || item->state == CNY_DECLARATION_FOUND;
    if (is_outdated(one) || (error && is_there)) {
        pthread_mutex_unlock(&factory->lock);
        return;
    }
    if (cny_declaration_is_missing(item))
        cny_declaration_set_to(factory, item, state);
    if (state == CNY_DECLARATION_DECLARED) {
        has_news = take_success(item, &news);
        cny_strikes_clear(&item->strikes);
        item->delay_ms = 0;
    } else {
        set_error(item, error);
        item->tried_at = cny_now_ms();
        delay_next(item, cny_error_view(error)->status == CONEY_E_RESOURCE_LOCKED ? LOCKED_DELAY_MS : MAX_DELAY_MS);
        has_news = take_refusal(item, &news);
        pthread_cond_broadcast(&factory->changed); /* settle() does for what is declared, at once for many */
    }
    pthread_mutex_unlock(&factory->lock);
    if (has_news)
        tell(factory, &news);
}

/* This thread's last error is the broker's refusal. Gives the sentence about the item. */
static cny_error *make_refusal(const cny_declaration *item, const char *way)
{
    char request[1024];
    const coney_error *error = coney_last_error_details();
    describe_request(item, request, sizeof request);
    return cny_error_new(error->status, error->broker_code, "%s: %s%s", request, error->text, way);
}

/* Keeps the refusal until the broker has said whether the thing is there; NULL: keeps none any more. Gives the refusal
 * that was kept before. Another run may have taken that and concluded the item: NULL. */
static cny_error *exchange_refusal(const cny_run *one, cny_declaration *item, cny_error *refusal)
{
    pthread_mutex_lock(&one->factory->lock);
    cny_error *before = item->refusal;
    item->refusal = refusal;
    pthread_mutex_unlock(&one->factory->lock);
    return before;
}

static size_t count_on_their_way(const cny_run *one)
{
    size_t count = 0;
    for (size_t i = 0; i < CNY_MOST_DECLARING_CHANNELS; i++)
        count += one->channels[i].count;
    return count;
}

/* Under lock: the item may have cost the connection, or has had no answer, over which the broker may end the connection
 * still. Gives how many other things are left out for that. */
static size_t add_strike(const cny_run *one, cny_declaration *item, bool has_hung)
{
    if (has_hung)
        cny_strikes_isolate(&item->strikes);
    else
        cny_strike(&item->strikes, cny_now_ms());
    bool is_first = !one->is_isolated && cny_must_isolate(&item->strikes);
    return is_first ? cny_declarations_leave_out(one->factory) : 0;
}

/* This thread's last error is why the item was not declared. */
static void on_refused(cny_run *one, cny_declaration *item)
{
    const coney_error *error = coney_last_error_details();
    coney_connection_factory *factory = one->factory;
    if (may_be_there(item, error->status) && cny_buffer_append(&one->to_look, &item, sizeof(cny_declaration *))) {
        cny_error_unref(exchange_refusal(one, item, make_refusal(item, ""))); /* the second answer tells the way out */
        return;
    }
    bool is_suspicion = cny_last_is_suspicion(), has_hung = error->status == CONEY_E_TIMEOUT;
    bool is_suspect_only = is_suspicion && !(one->is_isolated && count_on_their_way(one) == 1);
    pthread_mutex_lock(&factory->lock);
    size_t left_out = is_suspicion || has_hung ? add_strike(one, item, has_hung) : 0;
    cny_declaration_state state = state_after(factory, item, error, is_suspicion);
    pthread_mutex_unlock(&factory->lock);
    cny_error *refusal = make_refusal(item, way_out(item, state, error));
    if (!is_suspect_only) /* it may have been another request, and the next connection tells */
        conclude(one, item, state, refusal);
    if (left_out > 0)
        cny_log(CONEY_LOG_WARN,
                "%zu other declarations, too, go over a connection of their own from now on, because: %s", left_out,
                cny_error_view(refusal)->text);
    cny_error_unref(refusal);
}

/* The second answer, to whether it is there. */
static void on_looked(cny_run *one, cny_declaration *item, bool is_there)
{
    cny_error *kept = exchange_refusal(one, item, NULL);
    if (!kept)
        return;
    const coney_error *refusal = cny_error_view(kept);
    cny_declaration_state state = is_there ? CNY_DECLARATION_FOUND : CNY_DECLARATION_REFUSED;
    cny_error *told =
        cny_error_new(refusal->status, refusal->broker_code, "%s%s", refusal->text, way_out(item, state, refusal));
    conclude(one, item, state, told);
    cny_error_unref(told);
    cny_error_unref(kept);
}

/* The broker has answered for the item and for nothing else, so the item is not what costs connections. */
static void clear_strikes(const cny_run *one, cny_declaration *item, bool is_due)
{
    pthread_mutex_lock(&one->factory->lock);
    cny_strikes_clear(&item->strikes);
    if (is_due)
        item->due_at = 0;
    pthread_mutex_unlock(&one->factory->lock);
}

/* An exclusive thing goes with this connection: now that it is known to do no harm, it is declared where it belongs. */
static void declare_where_it_belongs(const cny_run *one, cny_declaration *item)
{
    clear_strikes(one, item, true);
}

static void on_answered(cny_run *one, cny_declaration *item)
{
    if (one->is_passive) {
        on_looked(one, item, true);
        return;
    }
    if (one->is_isolated && item->is_exclusive) {
        declare_where_it_belongs(one, item);
        return;
    }
    conclude(one, item, CNY_DECLARATION_DECLARED, NULL);
    if (!cny_is_binding(item))
        cny_buffer_append(&one->declared, &item->name_hash, sizeof item->name_hash);
}

/* The consuming connection may have the exclusive queue already. */
static bool is_locked_only_here(const cny_run *one, const cny_declaration *item, const coney_error *error)
{
    return one->is_isolated && !one->is_passive && item->is_exclusive && error->status == CONEY_E_RESOURCE_LOCKED;
}

/* The oldest on its way has no answer, for what this thread's last error tells. */
static void on_not_answered(cny_run *one, cny_declaration *item)
{
    const coney_error *error = coney_last_error_details();
    bool is_suspicion = cny_last_is_suspicion();
    bool is_loss = error->broker_code == 0 && error->status != CONEY_E_TIMEOUT && error->status != CONEY_E_INVALID;
    if (!is_suspicion && (is_loss || error->status == CONEY_E_LOST)) { /* it is wanted still */
        one->is_over = true;
        return;
    }
    bool has_hung = error->status == CONEY_E_TIMEOUT;
    one->has_hung |= has_hung;
    one->is_over |= has_hung;
    if (is_locked_only_here(one, item, error)) {
        declare_where_it_belongs(one, item);
        return;
    }
    if (error->broker_code != 0 && !is_suspicion)
        clear_strikes(one, item, false);
    if (one->is_passive && error->broker_code != 0 && !is_suspicion)
        on_looked(one, item, error->status == CONEY_E_RESOURCE_LOCKED);
    else
        on_refused(one, item);
}

/* ---- sending ---- */

static size_t left_to_send(const cny_run *one)
{
    return one->items.size / sizeof(cny_declaration *) - one->next;
}

static bool has_channel(const cny_run *one)
{
    for (size_t i = 0; i < CNY_MOST_DECLARING_CHANNELS; i++) {
        if (one->channels[i].channel)
            return true;
    }
    return false;
}

/* Where the connection allows for no more channels, those that are open have to do. */
static bool open_channel(cny_run *one, cny_declaring_channel *to, int timeout_ms)
{
    coney_status status = cny_channel_open_on(&to->channel, one->connection, true, cny_deadline(timeout_ms));
    if (status != CONEY_OK) {
        to->channel = NULL;
        one->is_over = status != CONEY_E_LIMIT || !has_channel(one);
    }
    return status == CONEY_OK;
}

static void close_channel(cny_declaring_channel *of)
{
    cny_channel_close(of->channel);
    cny_channel_unref(of->channel);
    of->channel = NULL;
}

/* Each channel takes its part of the suspects, so that things without an answer are waited for together. */
static size_t window_of(const cny_run *one)
{
    size_t part = 1 + left_to_send(one) / CNY_MOST_DECLARING_CHANNELS;
    if (!one->is_isolated)
        return CNY_DECLARING_WINDOW;
    return part < WINDOW_OF_SUSPECTS ? part : WINDOW_OF_SUSPECTS;
}

/* Sends until the window is full. What cannot be encoded has its answer. */
static void send_some(cny_run *one, cny_declaring_channel *to)
{
    cny_declaration **items = (cny_declaration **)(void *)one->items.data;
    size_t window = window_of(one);
    while (to->count < window && left_to_send(one) > 0 && !one->is_over) {
        cny_declaration *item = items[one->next];
        if (!to->channel && !open_channel(one, to, item->timeout_ms))
            return;
        coney_status status = cny_channel_send_declaration(to->channel, item->kind, item->thing, one->is_passive);
        if (status == CONEY_OK)
            to->sent[to->count++] = item;
        else if (status == CONEY_E_INVALID)
            on_refused(one, item);
        else /* the channel is gone: the oldest on its way tells why, or there is none and another one is opened */
            break;
        one->next++;
    }
    if (to->channel && to->count == 0 && !cny_channel_alive(to->channel))
        close_channel(to);
}

/* ---- answers ---- */

static void drop_oldest(cny_declaring_channel *of, size_t count)
{
    of->count -= count;
    memmove(of->sent, of->sent + count, of->count * sizeof *of->sent);
}

/* The channel is gone, and with it what was sent after the oldest: that is sent again. */
static void send_again(cny_run *one, cny_declaring_channel *of)
{
    if (!one->is_over && !cny_buffer_append(&one->items, of->sent, of->count * sizeof *of->sent))
        one->is_over = true; /* what is left is wanted, and the next run has it */
    of->count = 0;
    close_channel(of);
}

/* Under lock. A thing that has no answer in time is one too: it is known what becomes of it. */
static void note_answers(const cny_run *one, size_t count)
{
    cny_declarations *declarations = &one->factory->declarations;
    declarations->answers += count;
    if (count > 0)
        declarations->answered_at = cny_now_ms();
}

/* Under lock. */
static bool is_in_use(const cny_run *one)
{
    const cny_slot *slot = &one->factory->slots[cny_connection_role(one->connection)];
    return one->is_isolated || slot->connection != one->connection || slot->state == CNY_SLOT_OPEN;
}

/* How long an answer may take. */
static int patience_with(const cny_run *one, const cny_declaration *item)
{
    pthread_mutex_lock(&one->factory->lock);
    bool in_use = is_in_use(one);
    pthread_mutex_unlock(&one->factory->lock);
    return in_use || item->timeout_ms < UNUSED_MS ? item->timeout_ms : UNUSED_MS;
}

/* Waits until no more than so many are on their way. */
static void settle(cny_run *one, cny_declaring_channel *of, size_t left)
{
    size_t unanswered;
    coney_status status =
        cny_channel_await_declarations(of->channel, left, patience_with(one, of->sent[0]), &unanswered);
    cny_error *error = status == CONEY_OK ? NULL : cny_error_capture();
    size_t answered = of->count - unanswered;
    for (size_t i = 0; i < answered; i++)
        on_answered(one, of->sent[i]);
    drop_oldest(of, answered);
    pthread_mutex_lock(&one->factory->lock);
    note_answers(one, answered + (status != CONEY_OK && of->count > 0));
    pthread_cond_broadcast(&one->factory->changed);
    pthread_mutex_unlock(&one->factory->lock);
    if (error && of->count > 0) {
        cny_declaration *oldest = of->sent[0];
        cny_error_raise(error);
        on_not_answered(one, oldest);
        drop_oldest(of, 1);
        send_again(one, of);
    }
    cny_error_unref(error);
}

/* A thing without an answer holds up its channel, so there are as many for suspects as there may be. */
static size_t count_channels(const cny_run *one)
{
    size_t wanted = one->is_isolated ? CNY_MOST_DECLARING_CHANNELS : 1 + left_to_send(one) / ENOUGH_FOR_ONE;
    return wanted < CNY_MOST_DECLARING_CHANNELS ? wanted : CNY_MOST_DECLARING_CHANNELS;
}

/* One channel after another is topped up and waited for: the others go on meanwhile. */
static void send_all(cny_run *one)
{
    size_t count = count_channels(one);
    bool any = true;
    while (any) {
        any = false;
        for (size_t i = 0; i < count && !one->is_over; i++)
            send_some(one, &one->channels[i]);
        bool is_last = left_to_send(one) == 0 || one->is_over;
        for (size_t i = 0; i < count; i++) {
            if (one->channels[i].count == 0)
                continue;
            any = true;
            bool is_gone = !cny_channel_alive(one->channels[i].channel);
            size_t left = is_last || is_gone ? 0 : one->channels[i].count / 2;
            settle(one, &one->channels[i], left);
        }
    }
}

/* ---- a run ---- */

static void clear(cny_buffer *items)
{
    items->size = 0;
}

static void want_bindings_of_declared(cny_run *one)
{
    uint32_t *names = (uint32_t *)(void *)one->declared.data;
    size_t count = one->declared.size / sizeof *names;
    cny_declarations_sort_names(names, count);
    pthread_mutex_lock(&one->factory->lock);
    cny_declarations_want_bindings(one->factory, names, count);
    pthread_mutex_unlock(&one->factory->lock);
    clear(&one->declared);
}

/* Declares the items of the run, and looks passively at those for which that was refused. */
static void declare_items(cny_run *one)
{
    send_all(one);
    clear(&one->items);
    one->next = 0;
    cny_buffer_swap(&one->items, &one->to_look);
    one->is_passive = true;
    send_all(one);
    one->is_passive = false;
    clear(&one->items);
    one->next = 0;
}

static void declare_kind(cny_run *one, cny_declaration_kind kind)
{
    if (kind == CNY_DECLARE_EXCHANGE_BINDING)
        want_bindings_of_declared(one);
    pthread_mutex_lock(&one->factory->lock);
    if (!cny_declarations_collect(&one->sets, kind, cny_connection_role(one->connection), one->is_isolated,
                                  &one->items))
        one->is_over = true;
    pthread_mutex_unlock(&one->factory->lock);
    declare_items(one);
}

/* As late as after 30 s RabbitMQ may close a connection over a request that had no answer: one that nobody uses yet is
 * not to be used. */
static void end_unused(const cny_run *one)
{
    pthread_mutex_lock(&one->factory->lock);
    bool is_unused = !is_in_use(one);
    if (is_unused) {
        cny_fail(CONEY_E_LOST, "another one takes its place, because the broker has not answered a declaration on it");
        cny_connection_abort(one->connection);
    }
    pthread_mutex_unlock(&one->factory->lock);
    if (is_unused)
        cny_connection_wait_ended(one->connection, cny_deadline(END_MS));
}

void cny_run_declare_all(cny_run *one)
{
    for (int kind = 0; kind < CNY_DECLARATION_KINDS && !one->is_over; kind++)
        declare_kind(one, (cny_declaration_kind)kind);
    for (size_t i = 0; i < CNY_MOST_DECLARING_CHANNELS; i++)
        close_channel(&one->channels[i]);
    if (one->has_hung)
        end_unused(one);
}

void cny_run_try_alone(cny_run *one, cny_declaration *item)
{
    one->is_over = !cny_buffer_append(&one->items, &item, sizeof(cny_declaration *));
    declare_items(one);
    close_channel(&one->channels[0]);
    want_bindings_of_declared(one);
}

void cny_run_put_off(const cny_run *one, bool has_pause)
{
    int64_t now = cny_now_ms();
    pthread_mutex_lock(&one->factory->lock);
    cny_walk all = cny_walk_begin(one->factory);
    for (cny_declaration *item; (item = cny_walk_next(&all));) {
        bool is_due = cny_declaration_is_missing(item) && cny_must_isolate(&item->strikes) && item->due_at <= now;
        if (is_due && has_pause)
            delay_next(item, MAX_DELAY_MS);
        else if (is_due)
            item->due_at = now;
    }
    pthread_mutex_unlock(&one->factory->lock);
}
