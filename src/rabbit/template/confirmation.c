/* SPDX-License-Identifier: MIT */
/* Confirmations: the program waits for the outcome of a send in the same way as a synchronous send does. Any thread.
 * (Spring: the future of CorrelationData.) */
#include "rabbit/factory/factory.h"

static coney_status check(const coney_confirmation *confirmation, int timeout_ms)
{
    if (!confirmation)
        return cny_fail(CONEY_E_INVALID, "the confirmation is NULL");
    if (timeout_ms < 0)
        return cny_fail(CONEY_E_INVALID, "timeout_ms is %d, which is below 0", timeout_ms);
    if (!cny_waiter_is_of_process(confirmation))
        return cny_fail(CONEY_E_STATE, "the confirmation was made before fork(), by the parent process");
    return CONEY_OK;
}

static coney_status wait_until(coney_confirmation *confirmation, int64_t deadline)
{
    if (cny_waiter_wait(confirmation, deadline))
        return cny_error_raise(cny_waiter_outcome(confirmation));
    return cny_fail(CONEY_E_TIMEOUT, "the outcome is not known yet at the deadline");
}

coney_status coney_confirmation_wait(coney_confirmation *confirmation, int timeout_ms)
{
    CNY_DISABLE_CANCEL();
    coney_status status = check(confirmation, timeout_ms);
    return status == CONEY_OK ? wait_until(confirmation, cny_deadline(timeout_ms)) : status;
}

coney_status coney_confirmation_wait_all(coney_confirmation *const confirmations[], size_t count, int timeout_ms)
{
    CNY_DISABLE_CANCEL();
    if (!confirmations && count > 0)
        return cny_fail(CONEY_E_INVALID, "confirmations: the array is NULL, but count is %zu", count);
    for (size_t i = 0; i < count; i++) {
        if (check(confirmations[i], timeout_ms) != CONEY_OK)
            return cny_fail_in("confirmation %zu of %zu", i, count);
    }
    int64_t deadline = cny_deadline(timeout_ms);
    for (size_t i = 0; i < count; i++)
        cny_waiter_wait(confirmations[i], deadline);
    for (size_t i = 0; i < count; i++) {
        if (wait_until(confirmations[i], 0) != CONEY_OK)
            return cny_fail_in("confirmation %zu of %zu", i, count);
    }
    return CONEY_OK;
}

bool coney_confirmation_is_done(coney_confirmation *confirmation)
{
    CNY_DISABLE_CANCEL();
    return confirmation && cny_waiter_is_of_process(confirmation) && cny_waiter_wait(confirmation, 0);
}

const coney_error *coney_confirmation_error(coney_confirmation *confirmation)
{
    CNY_DISABLE_CANCEL();
    return coney_confirmation_is_done(confirmation) ? cny_error_view(cny_waiter_outcome(confirmation)) : NULL;
}

void coney_confirmation_free(coney_confirmation *confirmation)
{
    CNY_DISABLE_CANCEL();
    if (!confirmation || !cny_waiter_is_of_process(confirmation))
        return;
    cny_waiter_give_up(confirmation);
    cny_waiter_unref(confirmation);
}
