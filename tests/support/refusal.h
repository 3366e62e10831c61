/* SPDX-License-Identifier: MIT */
/* What coney_last_error() says after a call that was refused: one sentence, about this call. */
#ifndef CNY_TEST_REFUSAL_H
#define CNY_TEST_REFUSAL_H

#include "support/test_support.h"

/* Before the call: the last error of this thread is one that no call may leave there. */
void test_spoil_last_error(void);

/* Whether the last error of this thread has the status and is one sentence that a call has made since. */
bool test_said(coney_status status);

#endif
