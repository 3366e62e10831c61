/* SPDX-License-Identifier: MIT */
/* The recovery thread of a factory. It makes the connections that are needed, prepares each connection before its use,
 * and does both again after each loss.
 *
 * The thread sleeps until it is woken or something is due. Then it takes the next step of each slot, the consuming one
 * first. All functions are called with the factory's lock held. The thread lets go of the lock for what may take time:
 * members, the credentials provider, the log. It must not wait for an answer of the broker. */
#include "rabbit/factory/recovery.h"
#include "rabbit/factory/connecting.h"
#include "rabbit/factory/parts.h"
#include "rabbit/factory/registry.h"
#include "wire/wire.h"

#include <string.h>

#define NEVER INT64_MAX
#define TICK_MS 10   /* until the next look at something that tells nobody when it is done */
#define CROWD_MS 100 /* the clients of a host that is gone connect to the others spread over this time */
#define PATIENCE_WITH_CONSUMERS_MS 5000
#define PATIENCE_WITH_DECLARATIONS_MS 5000
#define FIRST_DECLARE_DELAY_MS 1000
#define MAX_DECLARE_DELAY_MS 30000
#define REFRESH_AGAIN_MS 5000 /* after credentials could not be renewed */
#define LONGEST_SLEEP_MS 3600000

static void lock(cny_slot *slot)
{
    pthread_mutex_lock(&slot->factory->lock);
}

static void unlock(cny_slot *slot)
{
    pthread_mutex_unlock(&slot->factory->lock);
}

/* ---- attempts ---- */

int cny_recovery_delay(const coney_recovery_options *options, int delay_ms)
{
    return cny_backoff(delay_ms, options->first_delay_ms, options->multiplier, options->max_delay_ms);
}

static bool gives_up(const cny_slot *slot)
{
    const coney_recovery_options *options = &slot->factory->config.recovery;
    return (!options->retry_refused_login && cny_is_refused_login(cny_error_view(slot->last_error))) ||
           (options->max_attempts > 0 && slot->attempt >= options->max_attempts);
}

/* A connection that was open for less time than the delay before it may be lost again and again. */
static bool was_steady(const cny_slot *slot)
{
    return slot->state == CNY_SLOT_OPEN && cny_now_ms() - slot->opened_at >= slot->delay_ms;
}

/* Another host may be there at once. So the first attempt after a loss does not wait for the delay. The first delay is
 * for the attempt after that one, if it fails or its connection is lost at once. */
static void plan_attempt(cny_slot *slot)
{
    if (slot->state == CNY_SLOT_DECLARING) { /* connecting has succeeded */
        slot->attempt = 0;
        slot->declare_delay_ms = cny_backoff(slot->declare_delay_ms, FIRST_DECLARE_DELAY_MS, 2, MAX_DECLARE_DELAY_MS);
        slot->next_attempt = cny_now_ms() + cny_jitter(slot->declare_delay_ms);
        return;
    }
    const cny_connection_config *config = &slot->factory->config;
    bool is_steady_loss = was_steady(slot);
    bool begins_anew = is_steady_loss || slot->skips_delay;
    bool is_first_close = slot->request_closes > 0 && slot->request_closes <= CNY_STRIKES_TO_ISOLATE;
    slot->skips_delay = (is_steady_loss && config->uri.host_count > 1) || is_first_close;
    slot->delay_ms =
        begins_anew ? config->recovery.first_delay_ms : cny_recovery_delay(&config->recovery, slot->delay_ms);
    int pause_ms = cny_jitter(slot->delay_ms);
    if (slot->skips_delay && pause_ms > CROWD_MS)
        pause_ms = (int)cny_random(CROWD_MS);
    slot->next_attempt = cny_now_ms() + pause_ms;
}

/* A broker that closes the connection over a request is well, so there is nothing to wait for. After the second close
 * the requests that may be the reason go over the isolated connection, so this connection stays open. */
static void count_request_close(cny_slot *slot)
{
    bool is_request_close = slot->connection && cny_connection_is_over_request(slot->connection);
    if (!is_request_close || was_steady(slot))
        slot->request_closes = 0;
    slot->request_closes += is_request_close;
}

/* The attempt has failed, or the connection is lost. Takes the error. */
static void on_end(cny_slot *slot, cny_error *error)
{
    bool was_open = slot->state == CNY_SLOT_OPEN;
    cny_error_unref(slot->last_error);
    slot->last_error = error;
    count_request_close(slot);
    slot->lost_host = was_open ? cny_connection_host(slot->connection) : CNY_NO_HOST;
    cny_connection_unref(slot->connection);
    slot->connection = NULL;
    cny_slot_count_blocked(slot, false);
    if (cny_slot_is_logged_in(slot->state))
        cny_declarations_lost(slot->factory, slot->role);
    if (was_open) {
        cny_error_unref(slot->last_loss);
        slot->last_loss = cny_error_ref(error);
    } else if (slot->state != CNY_SLOT_DECLARING) {
        slot->failures++;
    }
    plan_attempt(slot);
    bool is_given_up = !was_open && gives_up(slot);
    cny_slot_set_state(slot, is_given_up ? CNY_SLOT_FAILED : CNY_SLOT_BACKING_OFF);
    if (is_given_up)
        cny_declarations_given_up(slot->factory);
}

static coney_status ask_for_credentials(cny_slot *slot, coney_credentials *credentials)
{
    slot->refresh_at = NEVER;
    coney_status status = cny_factory_ask_for_credentials(slot->factory, credentials);
    if (status == CONEY_OK && credentials->valid_for_s > 0)
        slot->refresh_at = cny_now_ms() + (int64_t)credentials->valid_for_s * 800;
    return status;
}

static void begin_attempt(cny_slot *slot)
{
    coney_credentials credentials = {0};
    coney_status status = ask_for_credentials(slot, &credentials);
    if (cny_factory_is_closed(slot->factory))
        return;
    slot->attempt++;
    if (status == CONEY_OK)
        status = cny_factory_begin_to_connect(
            slot->factory, &slot->connection,
            (cny_connection_parts){.role = slot->role, .first_host = slot->first_host, .lost_host = slot->lost_host},
            &credentials);
    if (status == CONEY_OK)
        cny_slot_set_state(slot, CNY_SLOT_CONNECTING);
    else
        on_end(slot, cny_error_capture());
}

/* The other slot has connected, so the broker is there. */
static void skip_delay(cny_slot *slot)
{
    if (slot->state == CNY_SLOT_BACKING_OFF)
        slot->next_attempt = cny_now_ms();
}

/* ---- from the login to the use ---- */

/* Calls a function for each member, without the lock. False if one of the calls was, or if the factory was closed
 * meanwhile. */
static bool all_members(cny_slot *slot, bool (*call)(const cny_slot *slot, const cny_membership *one))
{
    cny_buffer members = {0};
    if (!cny_factory_members(slot->factory, &members))
        return false;
    unlock(slot);
    size_t count;
    const cny_membership *all = cny_memberships(&members, &count);
    bool done = true;
    for (size_t i = 0; i < count; i++)
        done = call(slot, &all[i]) && done;
    cny_members_free(&members);
    lock(slot);
    return done && !cny_factory_is_closed(slot->factory);
}

static bool is_blocked(cny_connection *connection)
{
    char blocked[256];
    cny_connection_blocked(connection, blocked);
    return cny_connection_role(connection) == CONEY_PUBLISHING && *blocked;
}

static bool has_resumed(const cny_slot *slot, const cny_membership *one)
{
    (void)slot;
    return !one->member->has_resumed || one->member->has_resumed(one->self);
}

static bool resend(const cny_slot *slot, const cny_membership *one)
{
    return !one->member->resend || one->member->resend(one->self, slot->connection);
}

/* Publishers need not wait for consumers any more: these have resumed, or cannot. False if the factory was closed
 * meanwhile. */
static bool consumers_are_back(cny_slot *slot)
{
    cny_slot *consuming = &slot->factory->slots[CONEY_CONSUMING];
    if (cny_now_ms() > slot->declared_at + PATIENCE_WITH_CONSUMERS_MS)
        return true;
    if (cny_slot_public_state(consuming->state) == CONEY_CONNECTION_CONNECTING)
        return consuming->failures > slot->consumers_failures;
    return consuming->state != CNY_SLOT_OPEN || all_members(consuming, has_resumed);
}

/* Returns when the slot has something to do again: now, for messages may have to be sent again. */
static int64_t open_for_use(cny_slot *slot)
{
    const cny_connection_config *config = &slot->factory->config;
    slot->attempt = slot->declare_delay_ms = 0;
    slot->opened_at = cny_now_ms();
    slot->times_opened++;
    if (config->host_order == CONEY_HOSTS_ROTATE)
        slot->first_host = (cny_connection_host(slot->connection) + 1) % config->uri.host_count;
    cny_slot_set_state(slot, CNY_SLOT_OPEN);
    return cny_now_ms();
}

static void on_declared(cny_slot *slot)
{
    cny_slot *slots = slot->factory->slots;
    slot->declared_at = cny_now_ms();
    slot->consumers_failures = slots[CONEY_CONSUMING].failures;
    skip_delay(&slots[slot->role == CONEY_CONSUMING ? CONEY_PUBLISHING : CONEY_CONSUMING]);
}

/* Until when the connection is not used because something is being declared. Consumers wait for as long as answers
 * come. Publishers do not. Neither waits longer for answers that do not come. */
static int64_t end_of_declaring(const cny_slot *slot)
{
    const cny_declarations *declarations = &slot->factory->declarations;
    int64_t from = slot->logged_in_at, answered_at = declarations->answered_at;
    bool is_later = answered_at > from, is_consuming = slot->role == CONEY_CONSUMING;
    if (declarations->is_running && is_later == is_consuming)
        from = answered_at;
    return from + PATIENCE_WITH_DECLARATIONS_MS;
}

/* The connection is logged in, and nobody uses it yet. Returns when to call this again, if nothing wakes the thread.
 *
 * What is due is declared first, then consumers resume, then publishers go on. But a declaration that has no answer
 * holds up nobody for long: whoever consumes from a queue or publishes to an exchange that is not declared yet waits
 * for that declaration in any case. */
static int64_t prepare(cny_slot *slot)
{
    if (slot->state == CNY_SLOT_CONNECTING) {
        cny_slot_set_state(slot, CNY_SLOT_DECLARING);
        slot->logged_in_at = cny_now_ms();
    }
    if (is_blocked(slot->connection))
        return NEVER;
    if (slot->state == CNY_SLOT_DECLARING) {
        bool is_declaring = cny_declarations_are_under_way(slot->factory, slot->role);
        int64_t end = end_of_declaring(slot);
        if (is_declaring && cny_now_ms() < end)
            return end;
        on_declared(slot);
        if (slot->role == CONEY_CONSUMING || is_declaring)
            return open_for_use(slot);
        cny_slot_set_state(slot, CNY_SLOT_AWAITING_CONSUMERS);
    }
    return consumers_are_back(slot) ? open_for_use(slot) : cny_now_ms() + TICK_MS;
}

/* ---- while it is open ---- */

/* A broker that cannot take another password, or another user, needs another connection: this one is ended, which is a
 * loss as any other. */
static coney_status renew_credentials(const cny_slot *slot, const coney_credentials *credentials)
{
    bool other_user = credentials->user && strcmp(credentials->user, cny_connection_user(slot->connection)) != 0;
    coney_status status = CONEY_OK;
    if (!other_user && credentials->password)
        status = cny_connection_update_secret(slot->connection, credentials->password);
    if (!other_user && status != CONEY_E_INVALID)
        return status;
    cny_fail(CONEY_E_LOST, "ended to log in again with renewed credentials: %s",
             other_user ? "they are another user's" : coney_last_error());
    cny_connection_abort(slot->connection);
    return CONEY_OK;
}

static void refresh_credentials(cny_slot *slot)
{
    coney_credentials credentials = {0};
    coney_status status = ask_for_credentials(slot, &credentials);
    if (status == CONEY_OK)
        status = renew_credentials(slot, &credentials);
    if (status == CONEY_OK)
        return;
    slot->refresh_at = cny_now_ms() + REFRESH_AGAIN_MS;
    unlock(slot);
    cny_log(CONEY_LOG_WARN, "credentials are not renewed yet: %s", coney_last_error());
    lock(slot);
}

/* Returns when to call this again: soon if messages are left, or when the broker takes messages again. */
static int64_t resend_all(cny_slot *slot)
{
    bool all_sent = slot->role != CONEY_PUBLISHING || all_members(slot, resend);
    return all_sent || is_blocked(slot->connection) ? NEVER : cny_now_ms() + TICK_MS;
}

/* ---- the thread ---- */

/* Takes the next step of a slot. Returns when the step after that is due, if nothing wakes the thread. */
static int64_t run_due(cny_slot *slot)
{
    if (slot->connection && cny_connection_is_dead(slot->connection))
        on_end(slot, cny_connection_reason(slot->connection));
    if (slot->state == CNY_SLOT_BACKING_OFF) {
        if (cny_now_ms() >= slot->next_attempt)
            begin_attempt(slot);
        return slot->connection ? NEVER : slot->next_attempt;
    }
    if (!slot->connection || !cny_connection_is_open(slot->connection))
        return NEVER;
    if (cny_now_ms() >= slot->refresh_at)
        refresh_credentials(slot);
    if (cny_factory_is_closed(slot->factory))
        return NEVER;
    int64_t next = slot->state == CNY_SLOT_OPEN ? resend_all(slot) : prepare(slot);
    return next < slot->refresh_at ? next : slot->refresh_at;
}

/* Without the lock: the log sink is the program's code, which may block. I/O threads have their lines written here. */
static void write_log(cny_slot *slot)
{
    const char *sentence = slot->connection ? cny_connection_take_deferred_log(slot->connection) : NULL;
    bool changed = slot->to_be_logged;
    slot->to_be_logged = false;
    const coney_connection_info news = slot->news;
    unlock(slot);
    if (sentence)
        cny_log(CONEY_LOG_WARN, "%s", sentence);
    if (changed)
        cny_slot_log(&news);
    lock(slot);
}

static int64_t run_due_of_slots(coney_connection_factory *factory)
{
    int64_t next = NEVER;
    for (int role = 0; role < CNY_ROLE_COUNT && !cny_factory_is_closed(factory); role++) {
        cny_slot *slot = &factory->slots[role];
        int64_t wanted = run_due(slot);
        next = wanted < next ? wanted : next;
        write_log(slot);
    }
    int64_t next_declaration = cny_declarations_run_due(factory);
    return next_declaration < next ? next_declaration : next;
}

/* Without the lock. A member that is due within a tick waits for it, which spares wake-ups. */
static int64_t run_due_of_members(coney_connection_factory *factory)
{
    cny_buffer members = {0};
    int64_t now = cny_now_ms(), next = NEVER;
    if (!cny_factory_members(factory, &members))
        return now + TICK_MS;
    pthread_mutex_unlock(&factory->lock);
    size_t count;
    const cny_membership *all = cny_memberships(&members, &count);
    for (size_t i = 0; i < count; i++) {
        int64_t wanted = all[i].member->on_tick ? all[i].member->on_tick(all[i].self, now) : NEVER;
        next = wanted < next ? wanted : next;
    }
    cny_members_free(&members);
    pthread_mutex_lock(&factory->lock);
    return next > now + TICK_MS ? next : now + TICK_MS;
}

static void sleep_until(coney_connection_factory *factory, int64_t next)
{
    int64_t latest = cny_deadline(LONGEST_SLEEP_MS);
    if (next > latest)
        next = latest;
    bool in_time = cny_now_ms() < next;
    while (!factory->is_woken && !cny_factory_is_closed(factory) && in_time)
        in_time = cny_cond_wait(&factory->changed, &factory->lock, next);
}

void *cny_recovery_main(void *argument)
{
    coney_connection_factory *factory = argument;
    cny_factory_set_internal_thread(factory);
    pthread_sigmask(SIG_SETMASK, &factory->signals, NULL); /* for the credentials provider */
    pthread_mutex_lock(&factory->lock);
    while (!cny_factory_is_closed(factory)) {
        factory->is_woken = false;
        int64_t next = run_due_of_slots(factory), next_of_members = run_due_of_members(factory);
        cny_isolation_make(factory);
        sleep_until(factory, next < next_of_members ? next : next_of_members);
    }
    for (int role = 0; role < CNY_ROLE_COUNT; role++) {
        cny_connection_unref(factory->slots[role].connection); /* the thread that closes the factory has a reference */
        factory->slots[role].connection = NULL;
    }
    factory->recovery = CNY_RECOVERY_ENDED;
    pthread_cond_broadcast(&factory->changed);
    pthread_mutex_unlock(&factory->lock);
    cny_factory_unref(factory);
    return NULL;
}
