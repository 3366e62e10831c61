/* SPDX-License-Identifier: MIT */
/* The batching template: gathers messages, sends them as one message through its template, and tells each of them its
 * outcome. Any thread; if batches are released by time, a thread of its own waits for that time.
 *
 * Batches go out one after another: the thread that has the turn sends without the lock, while others add to the next
 * batch, but do not complete it. Only the events thread never waits for the turn, because the thread that has it may
 * wait for callbacks. (Spring: BatchingRabbitTemplate.) */
#include "rabbit/template/batch.h"
#include "rabbit/template/options.h"
#include "rabbit/template/send.h"

#include <signal.h>
#include <string.h>

#define DEFAULT_BATCH_SIZE 100
#define DEFAULT_BUFFER_LIMIT_BYTES ((size_t)64 << 10)
#define MAX_UNTOLD 16 /* failed batches whose callbacks have not returned; at this number senders wait */

struct coney_batching_template {
    /* fixed after new */
    atomic_uint refs; /* the program's, the timer's, the factory's for a while, and one for each released batch */
    coney_template *sender;
    coney_connection_factory *factory; /* the sender's */
    coney_batching_options options;    /* with every default filled in */
    sigset_t signals;                  /* the mask of the thread that made it */
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a field below */
    cny_batch *gathering;   /* NULL, or with at least one message */
    int64_t release_at;     /* when the batch goes out even if it is not complete */
    bool sending;           /* a thread has the turn */
    size_t outstanding;     /* released batches whose callbacks have not all returned */
    size_t untold;          /* those of them that failed */
    bool closed;
};

/* ---- references ---- */

static void ref_batching(void *self)
{
    coney_batching_template *batching = self;
    atomic_fetch_add_explicit(&batching->refs, 1, memory_order_relaxed);
}

static void unref_batching(void *self)
{
    coney_batching_template *batching = self;
    if (atomic_fetch_sub_explicit(&batching->refs, 1, memory_order_acq_rel) != 1)
        return;
    cny_template_unref(batching->sender);
    pthread_cond_destroy(&batching->changed);
    pthread_mutex_destroy(&batching->lock);
    cny_free(batching);
}

/* ---- outcomes; no lock is held ---- */

static void finish(cny_batch *one)
{
    coney_batching_template *batching = one->owner;
    pthread_mutex_lock(&batching->lock);
    batching->outstanding--;
    batching->untold -= one->failed;
    pthread_cond_broadcast(&batching->changed);
    pthread_mutex_unlock(&batching->lock);
    cny_batch_free(one);
    unref_batching(batching);
}

/* The outcome of the batch is that of each of its messages. A coney_send_callback. */
static void complete(coney_message *whole, const coney_error *error, void *user)
{
    (void)whole;
    cny_batch_tell(user, error);
    finish(user);
}

static void fail(cny_batch *one, cny_error *error)
{
    coney_batching_template *batching = one->owner;
    pthread_mutex_lock(&batching->lock);
    one->failed = true;
    batching->untold++;
    pthread_mutex_unlock(&batching->lock);
    if (!cny_factory_post(batching->factory, complete, error, one))
        complete(NULL, cny_error_view(error), one);
}

/* ---- releasing ---- */

/* Sends the batch and takes it. If the batch cannot be sent, each callback is called with the status; but with
 * last_is_own the last message is the caller's, who returns the status instead. */
static coney_status send_batch(cny_batch *one, bool last_is_own, int64_t deadline)
{
    coney_status status = cny_batch_send(one, one->owner->sender, complete, deadline);
    if (status == CONEY_OK)
        return CONEY_OK;
    cny_error *error = cny_error_capture();
    if (last_is_own)
        cny_batch_remove_last(one);
    if (cny_batch_count(one) > 0)
        fail(one, error);
    else
        finish(one);
    cny_error_raise(error);
    cny_error_unref(error);
    return status;
}

/* Under lock. */
static cny_batch *take_gathered(coney_batching_template *batching)
{
    cny_batch *taken = batching->gathering;
    batching->gathering = NULL;
    if (taken) {
        batching->outstanding++;
        ref_batching(batching);
        taken->owner = batching;
    }
    return taken;
}

/* Under lock: must this thread wait for its turn? */
static bool is_busy(const coney_batching_template *batching)
{
    return (batching->sending || batching->untold >= MAX_UNTOLD) && !cny_factory_on_events_thread(batching->factory);
}

/* Under lock, which is not held while the batch is sent. Not to be called while it is busy. The thread counts as an
 * internal one, so that messages which were accepted before the factory began to close are sent while it drains. */
static coney_status release(coney_batching_template *batching, bool last_is_own, int64_t deadline)
{
    cny_batch *one = take_gathered(batching);
    bool has_turn = !batching->sending; /* the events thread may send while another thread has the turn */
    batching->sending = true;
    pthread_mutex_unlock(&batching->lock);
    const coney_connection_factory *served = cny_factory_set_internal_thread(batching->factory);
    coney_status status = send_batch(one, last_is_own, deadline);
    cny_factory_set_internal_thread(served);
    pthread_mutex_lock(&batching->lock);
    if (has_turn)
        batching->sending = false;
    pthread_cond_broadcast(&batching->changed);
    return status;
}

/* Under lock. False if it is still busy at the deadline. */
static bool wait_a_turn(coney_batching_template *batching, int64_t deadline)
{
    return cny_cond_wait(&batching->changed, &batching->lock, deadline) || !is_busy(batching);
}

static coney_status no_turn(const coney_batching_template *batching, coney_status status)
{
    if (batching->sending)
        return cny_fail(status, "batching: another thread is still sending its batch at the deadline");
    return cny_fail(status, "batching: the callbacks of %zu failed batches have not returned at the deadline",
                    batching->untold);
}

/* Under lock. Waits also for a batch that another thread is sending. */
static coney_status flush(coney_batching_template *batching, int64_t deadline)
{
    while (batching->gathering || (batching->sending && is_busy(batching))) {
        if (!is_busy(batching))
            return release(batching, false, deadline);
        if (!wait_a_turn(batching, deadline))
            return no_turn(batching, CONEY_E_TIMEOUT);
    }
    return CONEY_OK;
}

coney_status coney_batching_template_flush(coney_batching_template *batching)
{
    CNY_DISABLE_CANCEL();
    if (!batching)
        return cny_fail(CONEY_E_INVALID, "flush: the batching template is NULL");
    if (cny_factory_check_process(batching->factory) != CONEY_OK)
        return CONEY_E_STATE;
    pthread_mutex_lock(&batching->lock);
    coney_status status = flush(batching, cny_deadline(batching->sender->options.timeout_ms));
    pthread_mutex_unlock(&batching->lock);
    return status;
}

/* The timer's thread. A batch that is due while another is being sent goes out when the turn ends. */
static void *wait_for_time(void *argument)
{
    coney_batching_template *batching = argument;
    pthread_sigmask(SIG_SETMASK, &batching->signals, NULL);
    pthread_mutex_lock(&batching->lock);
    while (!batching->closed) {
        if (!batching->gathering || is_busy(batching))
            pthread_cond_wait(&batching->changed, &batching->lock);
        else if (cny_now_ms() < batching->release_at)
            cny_cond_wait(&batching->changed, &batching->lock, batching->release_at);
        else
            release(batching, false, cny_deadline(batching->sender->options.timeout_ms));
    }
    pthread_mutex_unlock(&batching->lock);
    unref_batching(batching);
    return NULL;
}

/* ---- adding ---- */

/* Must the batch that gathers go out before this message is added? */
static bool has_no_place(const coney_batching_template *batching, const cny_addition *more)
{
    const cny_batch *one = batching->gathering;
    return one && (!cny_batch_has_address(one, more) ||
                   cny_batch_bytes_with(one, more) > batching->options.buffer_limit_bytes);
}

static bool completes(const coney_batching_template *batching, const cny_addition *more)
{
    const cny_batch *one = batching->gathering;
    return cny_batch_count(one) + 1 >= (size_t)batching->options.batch_size ||
           cny_batch_bytes_with(one, more) >= batching->options.buffer_limit_bytes;
}

static coney_status put(coney_batching_template *batching, const cny_addition *more)
{
    bool is_first = !batching->gathering;
    if (is_first)
        batching->gathering = cny_batch_new(more);
    if (!batching->gathering || (!is_first && !cny_batch_add(batching->gathering, more)))
        return cny_fail_memory();
    if (batching->options.timeout_ms > 0)
        batching->release_at = cny_deadline(batching->options.timeout_ms);
    if (is_first)
        pthread_cond_broadcast(&batching->changed); /* for the timer */
    return CONEY_OK;
}

/* Under lock. A thread whose message completes the batch waits for the turn before it adds the message, so that giving
 * up at the deadline leaves nothing in the batch. */
static coney_status add(coney_batching_template *batching, const cny_addition *more, int64_t deadline)
{
    for (;;) {
        if (batching->closed)
            return cny_fail(CONEY_E_CLOSED, "batching: the batching template or its factory is closed");
        bool must_release = has_no_place(batching, more);
        if (!must_release && !completes(batching, more))
            return put(batching, more);
        if (is_busy(batching)) {
            if (!wait_a_turn(batching, deadline))
                return no_turn(batching, CONEY_E_LIMIT);
        } else if (must_release) {
            release(batching, false, deadline); /* a failure is told to the callbacks of that batch */
        } else {
            coney_status status = put(batching, more);
            return status == CONEY_OK ? release(batching, true, deadline) : status;
        }
    }
}

static coney_status check_send(const coney_batching_template *batching, const cny_addition *more,
                               const coney_send_options *options)
{
    if (cny_template_check_send(batching->sender, options) != CONEY_OK)
        return cny_fail_in("batching");
    if (!more->message)
        return cny_fail(CONEY_E_INVALID, "batching: the message is NULL");
    if (coney_message_is_batch(more->message))
        return cny_fail(CONEY_E_INVALID, "batching: the message is a batch already (header " CONEY_HEADER_BATCH_FORMAT
                                         "); send it through the template");
    if (coney_message_size(more->message) > INT32_MAX)
        return cny_fail(CONEY_E_INVALID, "batching: the body has %zu bytes; a batch allows %d",
                        coney_message_size(more->message), INT32_MAX);
    coney_status status = cny_check_name("exchange", more->exchange);
    if (status == CONEY_OK)
        status = cny_check_name("routing key", more->routing_key);
    return status == CONEY_OK ? cny_factory_check_draining(batching->factory) : cny_fail_in("batching");
}

coney_status coney_batching_template_send(coney_batching_template *batching, const char *routing_key,
                                          coney_message *message, const coney_send_options *options,
                                          coney_send_callback *on_complete, void *user)
{
    CNY_DISABLE_CANCEL();
    static const coney_send_options defaults;
    if (!options)
        options = &defaults;
    if (!batching)
        return cny_fail(CONEY_E_INVALID, "batching: the batching template is NULL");
    if (cny_factory_check_process(batching->factory) != CONEY_OK)
        return CONEY_E_STATE;
    const coney_template_options *own = &batching->sender->options;
    const cny_addition more = {
        .exchange = options->exchange ? options->exchange : own->exchange,
        .routing_key = routing_key ? routing_key : own->routing_key,
        .mandatory = cny_template_is_mandatory(batching->sender, options),
        .delay_ms = options->delay_ms,
        .message = message,
        .callback = on_complete,
        .user = user,
    };
    coney_status status = check_send(batching, &more, options);
    if (status != CONEY_OK)
        return status;
    int64_t deadline = cny_deadline(options->timeout_ms ? options->timeout_ms : own->timeout_ms);
    pthread_mutex_lock(&batching->lock);
    status = add(batching, &more, deadline);
    pthread_mutex_unlock(&batching->lock);
    return status;
}

/* ---- the end ---- */

/* Under lock: sends what is gathered, and waits until all callbacks have returned. */
static coney_status settle(coney_batching_template *batching, int64_t deadline)
{
    cny_error *failure = NULL;
    bool in_time = true;
    while (in_time && (batching->gathering || batching->outstanding > 0)) {
        if (!batching->gathering) {
            in_time = cny_cond_wait(&batching->changed, &batching->lock, deadline);
        } else if (flush(batching, deadline) != CONEY_OK) {
            if (!failure)
                failure = cny_error_capture();
            in_time = cny_now_ms() < deadline;
        }
    }
    coney_status status = cny_error_raise(failure);
    cny_error_unref(failure);
    if (status == CONEY_OK && batching->outstanding > 0)
        status = cny_fail(CONEY_E_TIMEOUT,
                          "%zu batches are not confirmed, or their callbacks have not returned, at the deadline",
                          batching->outstanding);
    return status;
}

static coney_status drain(void *self, int64_t deadline)
{
    coney_batching_template *batching = self;
    pthread_mutex_lock(&batching->lock);
    coney_status status = settle(batching, deadline);
    pthread_mutex_unlock(&batching->lock);
    return status;
}

/* Refuses senders, and ends what is still gathered with CONEY_E_CLOSED. */
static void abandon(void *self)
{
    coney_batching_template *batching = self;
    pthread_mutex_lock(&batching->lock);
    batching->closed = true;
    pthread_cond_broadcast(&batching->changed);
    cny_batch *rest = take_gathered(batching);
    pthread_mutex_unlock(&batching->lock);
    if (!rest)
        return;
    cny_error *reason = cny_error_new(CONEY_E_CLOSED, 0, "closed by the program before the batch could be sent");
    fail(rest, reason);
    cny_error_unref(reason);
}

/* Refuses senders, including the program's callbacks, and then sends what is left. */
static coney_status close_batching(coney_batching_template *batching, int64_t deadline)
{
    pthread_mutex_lock(&batching->lock);
    batching->closed = true;
    pthread_cond_broadcast(&batching->changed);
    coney_status status = settle(batching, deadline);
    pthread_mutex_unlock(&batching->lock);
    cny_threads_join(cny_factory_threads(batching->factory), batching, deadline);
    return status;
}

void coney_batching_template_free(coney_batching_template *batching)
{
    CNY_DISABLE_CANCEL();
    if (!batching || cny_factory_check_process(batching->factory) != CONEY_OK)
        return;
    if (cny_factory_on_events_thread(batching->factory) ||
        cny_threads_is_current(cny_factory_threads(batching->factory), batching)) {
        cny_log(CONEY_LOG_ERROR, "coney_batching_template_free called by a send callback, or by a processor on its own "
                                 "thread: the batching template is not freed");
        return;
    }
    cny_factory_leave(batching->factory, batching);
    if (close_batching(batching, cny_deadline(batching->sender->options.timeout_ms)) != CONEY_OK)
        cny_log(CONEY_LOG_ERROR, "free a batching template: %s", coney_last_error());
    abandon(batching);
    unref_batching(batching);
}

/* ---- the beginning ---- */

static const cny_member membership = {
    .ref = ref_batching,
    .unref = unref_batching,
    .drain = drain,
    .abandon = abandon,
};

static coney_status start_timer(coney_batching_template *batching)
{
    const cny_thread timer = {.name = "coney-batching", .run = wait_for_time, .argument = batching};
    ref_batching(batching);
    coney_status status = cny_threads_start(cny_factory_threads(batching->factory), batching, &timer);
    if (status != CONEY_OK)
        unref_batching(batching);
    return status;
}

static coney_batching_template *make_batching(coney_template *sender, const coney_batching_options *options)
{
    coney_batching_template *made = cny_alloc(sizeof *made);
    if (!made)
        return NULL;
    atomic_init(&made->refs, 1);
    cny_template_ref(sender);
    made->sender = sender;
    made->factory = sender->factory;
    made->options = *options;
    if (made->options.batch_size == 0)
        made->options.batch_size = DEFAULT_BATCH_SIZE;
    if (made->options.buffer_limit_bytes == 0)
        made->options.buffer_limit_bytes = DEFAULT_BUFFER_LIMIT_BYTES;
    pthread_sigmask(SIG_SETMASK, NULL, &made->signals);
    pthread_mutex_init(&made->lock, NULL);
    cny_cond_init(&made->changed);
    return made;
}

coney_status coney_batching_template_new(coney_batching_template **batching, coney_template *sender,
                                         const coney_batching_options *options)
{
    CNY_DISABLE_CANCEL();
    static const coney_batching_options defaults;
    if (!options)
        options = &defaults;
    if (batching)
        *batching = NULL;
    if (!batching || !sender)
        return cny_fail(CONEY_E_INVALID, "batching template: batching or sender is NULL");
    if (options->batch_size < 0 || options->batch_size > CONEY_MAX_BATCH_SIZE)
        return cny_fail(CONEY_E_INVALID, "batching template: batch_size is %d, not between 0 and %d",
                        options->batch_size, CONEY_MAX_BATCH_SIZE);
    if (cny_factory_check_process(sender->factory) != CONEY_OK)
        return CONEY_E_STATE;
    coney_batching_template *made = make_batching(sender, options);
    if (!made)
        return cny_fail_memory();
    coney_status status = options->timeout_ms > 0 ? start_timer(made) : CONEY_OK;
    if (status == CONEY_OK)
        status = cny_factory_join(made->factory, &membership, made);
    if (status != CONEY_OK) {
        abandon(made); /* ends the timer's thread */
        cny_threads_join(cny_factory_threads(made->factory), made, cny_deadline(sender->options.timeout_ms));
        unref_batching(made);
        return status;
    }
    *batching = made;
    return CONEY_OK;
}
