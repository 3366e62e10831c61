/* SPDX-License-Identifier: MIT */
/* Attempts of a synchronous send within its deadline, and the program's on_failure after the last of them. On the
 * sender's thread; the program's functions run with no lock held. (Spring: RetryTemplate and RecoveryCallback.) */
#include "rabbit/template/send.h"

/* Asks about the last error. The program's function may change this thread's last error, so it is restored. */
static bool is_retriable(const coney_retry_options *retry)
{
    if (!retry->is_retriable)
        return coney_last_error_details()->retriable;
    cny_error *error = cny_error_capture();
    bool retriable = retry->is_retriable(cny_error_view(error), retry->user);
    cny_error_raise(error);
    cny_error_unref(error);
    return retriable;
}

/* False if the next attempt would be after the deadline, or the factory closes while this waits. The last error then
 * says so. */
static bool wait_to_retry(const coney_template *sender, int delay_ms, int64_t deadline)
{
    int64_t until = cny_deadline(cny_jitter(delay_ms));
    if (until >= deadline) {
        cny_fail_in("no time for another attempt, which is due in %lld ms", (long long)(until - cny_now_ms()));
        return false;
    }
    cny_error *error = cny_error_capture();
    coney_status status = cny_factory_sleep(sender->factory, until);
    if (status != CONEY_OK)
        cny_fail(status, "%s, before another attempt after: %s", coney_last_error(), cny_error_view(error)->text);
    cny_error_unref(error);
    return status == CONEY_OK;
}

static void count_retry(coney_template *sender)
{
    pthread_mutex_lock(&sender->lock);
    sender->ended.retried++;
    pthread_mutex_unlock(&sender->lock);
}

/* Calls on_failure about the last error, but not for wrong use, and returns its status. */
static coney_status recover(const coney_retry_options *retry, const cny_publish *publish)
{
    coney_status status = coney_last_error_details()->status;
    if (!retry->on_failure || status == CONEY_E_INVALID || status == CONEY_E_STATE)
        return status;
    cny_error *error = cny_error_capture();
    const char *text = cny_error_view(error)->text;
    cny_forget_failure();
    status = retry->on_failure(publish->message, publish->exchange, publish->routing_key, cny_error_view(error),
                               retry->user);
    if (status != CONEY_OK && coney_last_error_details()->status != status)
        cny_fail(status, "the recovery callback answered %s to: %s", coney_status_name(status), text);
    cny_error_unref(error);
    return status;
}

coney_status cny_template_retry(coney_template *sender, const cny_publish *publish, cny_attempt *attempt,
                                int64_t deadline)
{
    const coney_retry_options *retry = &sender->options.retry;
    int made = 1, delay_ms = 0;
    coney_status status = attempt(sender, publish, deadline);
    while (status != CONEY_OK && made < retry->max_attempts && is_retriable(retry)) {
        delay_ms = cny_backoff(delay_ms, retry->first_delay_ms, retry->multiplier, retry->max_delay_ms);
        if (!wait_to_retry(sender, delay_ms, deadline))
            break;
        count_retry(sender);
        status = attempt(sender, publish, deadline);
        made++;
    }
    if (status == CONEY_OK)
        return CONEY_OK;
    if (retry->max_attempts > 1)
        cny_fail_in("%d of %d attempts made", made, retry->max_attempts);
    return recover(retry, publish);
}
