/* SPDX-License-Identifier: MIT */
/* What the broker's answer to a declaration means, and telling it to the program and to members. The thread of a run,
 * without a lock unless said otherwise. It must not know when something is sent. */
#include "rabbit/factory/declaring.h"
#include "rabbit/factory/parts.h"

#include <stdio.h>
#include <string.h>

#define LOCKED_DELAY_MS 5000 /* until the broker has noticed the end of an exclusive queue's connection */
#define MAX_DELAY_MS 30000

enum { INTERNAL_ERROR = 541 }; /* AMQP's reply code; also the answer of a cluster whose nodes are not all there */

/* ---- telling ---- */

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

static const char *advice(const cny_declaration *item, cny_declaration_state state, const coney_error *error)
{
    bool is_there = state == CNY_DECLARATION_FOUND, is_queue = item->kind == CNY_DECLARE_QUEUE;
    if (error->status == CONEY_E_PRECONDITION_FAILED && is_there)
        return is_queue ? "; it is there with other properties. Declare it as it is (a policy can change its limits), "
                          "take another name, or delete it and call coney_admin_declare(); coney_admin_plan() tells "
                          "all that differs"
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

/* The program and the members: a declaration was refused, or the broker has accepted it after all. */
static void tell(coney_connection_factory *factory, const coney_declaration *news, coney_on_refusal on_refusal)
{
    bool is_refused = news->state != CONEY_DECLARATION_DECLARED;
    if (is_refused)
        cny_log(on_refusal == CONEY_REFUSAL_IGNORE ? CONEY_LOG_INFO : CONEY_LOG_WARN, "%s", news->text);
    else
        cny_log(CONEY_LOG_INFO, "declared after all, after: %s", news->text);
    cny_tell_declaration(factory, news);
    cny_buffer members = {0};
    pthread_mutex_lock(&factory->lock);
    bool got = is_refused && cny_factory_members(factory, &members);
    pthread_mutex_unlock(&factory->lock);
    size_t count;
    const cny_membership *all = cny_memberships(&members, &count);
    for (size_t i = 0; got && i < count; i++) {
        if (all[i].member->on_declaration)
            all[i].member->on_declaration(all[i].self, news);
    }
    cny_members_free(&members);
}

/* ---- states ---- */

/* Under lock. The same sentence again is the same refusal, and the program is not told of it again. */
static void set_error(cny_declaration *item, cny_error *error)
{
    const coney_error *old = cny_error_view(item->error), *new = cny_error_view(error);
    if (old && new &&strcmp(old->text, new->text) == 0)
        return;
    cny_error_unref(item->error);
    item->error = error ? cny_error_ref(error) : NULL;
}

static void set_told(cny_declaration *item, cny_error *error)
{
    cny_error_unref(item->told);
    item->told = error ? cny_error_ref(error) : NULL;
}

static bool may_be_there(const cny_declaration *item, coney_status status)
{
    return !cny_is_binding(item) && (status == CONEY_E_PRECONDITION_FAILED || status == CONEY_E_ACCESS_REFUSED);
}

/* By the configuration of the node: RabbitMQ 4.3 denies transient queues, for example. */
static bool is_denied(const coney_error *error)
{
    return error->broker_code == INTERNAL_ERROR && strstr(error->text, "use is not permitted");
}

/* Under lock: the state of an item that was refused. A binding cannot be declared passively; without the permission to
 * bind it is taken to be there. If the broker closes the connection over a queue, perhaps only this node does, or only
 * today, unless the queue is denied. */
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

/* Under lock: keeps the refusal. True if the program is to be told, and fills in what. */
static bool note_refusal(cny_declaration *item, cny_error *error, coney_declaration *news)
{
    set_error(item, error);
    if (item->told == item->error)
        return false;
    set_told(item, item->error);
    cny_declaration_describe(item, news);
    return true;
}

/* Under lock: there is no refusal any more. True if the program was told of one, however long ago, and fills in
 * which. */
static bool note_success(cny_declaration *item, coney_declaration *news)
{
    bool was_told = item->told != NULL;
    set_error(item, item->told);
    if (was_told)
        cny_declaration_describe(item, news);
    set_error(item, NULL);
    set_told(item, NULL);
    return was_told;
}

/* Under lock: the connection was lost meanwhile, and everything is wanted again. */
static bool is_outdated(const cny_run *one)
{
    return !one->is_isolated && one->factory->slots[cny_connection_role(one->connection)].connection != one->connection;
}

/* The refusal after which CONEY_REFUSAL_FAIL counts. */
static cny_error *make_failure(const cny_error *refusal)
{
    const coney_error *error = cny_error_view(refusal);
    return cny_error_new(error->status, error->broker_code,
                         "%s; all repetitions were refused, and on_refusal is CONEY_REFUSAL_FAIL, so containers stop "
                         "and sends that need this fail",
                         error->text);
}

/* The item's state is known. error: the refusal; NULL: the broker has accepted the declaration. A refusal is of no
 * interest if another run has declared or found the thing meanwhile. */
static void conclude(cny_run *one, cny_declaration *item, cny_declaration_state state, cny_error *error)
{
    coney_declaration news;
    coney_connection_factory *factory = one->factory;
    bool has_news = false;
    cny_error *failure = NULL;
    pthread_mutex_lock(&factory->lock);
    bool is_there = item->state == CNY_DECLARATION_DECLARED || item->state == CNY_DECLARATION_FOUND;
    if (is_outdated(one) || item->is_forgotten || (error && is_there)) {
        pthread_mutex_unlock(&factory->lock);
        return;
    }
    if (state == CNY_DECLARATION_REFUSED || state == CNY_DECLARATION_FOUND)
        item->refusals++;
    if (state == CNY_DECLARATION_REFUSED && cny_declaration_is_last_attempt(item)) {
        state = CNY_DECLARATION_FAILED;
        error = failure = make_failure(error);
    }
    if (cny_declaration_is_missing(item))
        cny_declaration_set_to(factory, item, state);
    if (state == CNY_DECLARATION_DECLARED) {
        has_news = note_success(item, &news);
        cny_strikes_clear(&item->strikes);
        item->delay_ms = 0;
        item->refusals = 0;
    } else {
        item->tried_at = cny_now_ms();
        cny_declaration_delay(item, cny_error_view(error)->status == CONEY_E_RESOURCE_LOCKED ? LOCKED_DELAY_MS
                                                                                             : MAX_DELAY_MS);
        has_news = note_refusal(item, error, &news);
        pthread_cond_broadcast(&factory->changed); /* await_answers() does so for what is declared, once for many */
    }
    pthread_mutex_unlock(&factory->lock);
    cny_error_unref(failure);
    if (has_news)
        tell(factory, &news, item->on_refusal);
}

/* Gives an error that says what was refused, why (this thread's last error), and what to do. */
static cny_error *make_refusal(const cny_declaration *item, const char *way)
{
    char request[1024];
    const coney_error *error = coney_last_error_details();
    describe_request(item, request, sizeof request);
    return cny_error_new(error->status, error->broker_code, "%s: %s%s", request, error->text, way);
}

/* Keeps a refusal until a passive declaration has told whether the thing is there; NULL: keeps none any more. Gives the
 * refusal that was kept before; NULL: there was none, or another run has taken it and concluded the item. */
static cny_error *swap_pending_refusal(const cny_run *one, cny_declaration *item, cny_error *refusal)
{
    pthread_mutex_lock(&one->factory->lock);
    cny_error *before = item->pending_refusal;
    item->pending_refusal = refusal;
    pthread_mutex_unlock(&one->factory->lock);
    return before;
}

static size_t count_unanswered(const cny_run *one)
{
    size_t count = 0;
    for (size_t i = 0; i < CNY_MOST_DECLARING_CHANNELS; i++)
        count += one->channels[i].count;
    return count;
}

/* Under lock: the connection may have been closed over the item, or may be closed over it, because the item had no
 * answer in time. Returns how many other items are isolated for that. */
static size_t add_strike(const cny_run *one, cny_declaration *item, bool has_hung)
{
    if (has_hung)
        cny_strikes_isolate(&item->strikes);
    else
        cny_strike(&item->strikes, cny_now_ms());
    bool is_first = !one->is_isolated && cny_must_isolate(&item->strikes);
    return is_first ? cny_declarations_isolate_wanted(one->factory) : 0;
}

void cny_run_refused(cny_run *one, cny_declaration *item)
{
    const coney_error *error = coney_last_error_details();
    coney_connection_factory *factory = one->factory;
    if (may_be_there(item, error->status) && cny_buffer_append(&one->to_check, &item, sizeof(cny_declaration *))) {
        /* the next answer decides about the advice */
        cny_error_unref(swap_pending_refusal(one, item, make_refusal(item, "")));
        return;
    }
    bool is_suspicion = cny_last_is_suspicion(), has_hung = error->status == CONEY_E_TIMEOUT;
    bool may_be_another = is_suspicion && !(one->is_isolated && count_unanswered(one) == 1);
    pthread_mutex_lock(&factory->lock);
    size_t left_out = is_suspicion || has_hung ? add_strike(one, item, has_hung) : 0;
    cny_declaration_state state = state_after(factory, item, error, is_suspicion);
    pthread_mutex_unlock(&factory->lock);
    cny_error *refusal = make_refusal(item, advice(item, state, error));
    if (!may_be_another) /* another request may be the reason, and the next connection tells */
        conclude(one, item, state, refusal);
    if (left_out > 0)
        cny_log(CONEY_LOG_WARN,
                "%zu other declarations, too, go over a connection of their own from now on, because: %s", left_out,
                cny_error_view(refusal)->text);
    cny_error_unref(refusal);
}

/* The answer to the passive declaration. */
static void on_passive_answer(cny_run *one, cny_declaration *item, bool is_there)
{
    cny_error *kept = swap_pending_refusal(one, item, NULL);
    if (!kept)
        return;
    const coney_error *refusal = cny_error_view(kept);
    bool will_do = item->on_refusal != CONEY_REFUSAL_FAIL || refusal->status == CONEY_E_ACCESS_REFUSED;
    cny_declaration_state state = is_there && will_do ? CNY_DECLARATION_FOUND : CNY_DECLARATION_REFUSED;
    cny_error *told = cny_error_new(refusal->status, refusal->broker_code, "%s%s", refusal->text,
                                    advice(item, is_there ? CNY_DECLARATION_FOUND : state, refusal));
    conclude(one, item, state, told);
    cny_error_unref(told);
    cny_error_unref(kept);
}

/* The broker's answer was for this item alone, so connections are not closed over it. is_due: the item is exclusive, so
 * it goes with the isolated connection, and is declared again at once on the consuming connection. */
static void clear_strikes(const cny_run *one, cny_declaration *item, bool is_due)
{
    pthread_mutex_lock(&one->factory->lock);
    cny_strikes_clear(&item->strikes);
    if (is_due)
        item->due_at = 0;
    pthread_mutex_unlock(&one->factory->lock);
}

/* Notes that it was. */
static bool take_first_success(const cny_run *one, cny_declaration *item)
{
    pthread_mutex_lock(&one->factory->lock);
    bool is_first = !item->was_checked;
    item->was_checked = true;
    pthread_mutex_unlock(&one->factory->lock);
    return is_first;
}

void cny_run_answered(cny_run *one, cny_declaration *item)
{
    if (one->is_passive) {
        on_passive_answer(one, item, true);
        return;
    }
    if (one->is_isolated && item->is_exclusive) {
        clear_strikes(one, item, true);
        return;
    }
    conclude(one, item, CNY_DECLARATION_DECLARED, NULL);
    if (item->kind == CNY_DECLARE_QUEUE && take_first_success(one, item))
        cny_warn_of_transient_queue(item->thing, cny_connection_broker_version(one->connection));
    if (!cny_is_binding(item))
        cny_buffer_append(&one->declared, &item->name_hash, sizeof item->name_hash);
}

/* An exclusive queue may be on the consuming connection already. */
static bool is_locked_only_here(const cny_run *one, const cny_declaration *item, const coney_error *error)
{
    return one->is_isolated && !one->is_passive && item->is_exclusive && error->status == CONEY_E_RESOURCE_LOCKED;
}

void cny_run_not_answered(cny_run *one, cny_declaration *item)
{
    const coney_error *error = coney_last_error_details();
    bool is_suspicion = cny_last_is_suspicion();
    bool is_loss = error->broker_code == 0 && error->status != CONEY_E_TIMEOUT && error->status != CONEY_E_INVALID;
    if (!is_suspicion && (is_loss || error->status == CONEY_E_LOST)) { /* the item stays wanted */
        cny_run_end(one, CNY_RUN_OVER);
        return;
    }
    bool has_hung = error->status == CONEY_E_TIMEOUT;
    if (has_hung)
        cny_run_end(one, CNY_RUN_HUNG);
    if (is_locked_only_here(one, item, error)) {
        clear_strikes(one, item, true);
        return;
    }
    if (error->broker_code != 0 && !is_suspicion)
        clear_strikes(one, item, false);
    if (one->is_passive && error->broker_code != 0 && !is_suspicion)
        on_passive_answer(one, item, error->status == CONEY_E_RESOURCE_LOCKED);
    else
        cny_run_refused(one, item);
}
