/* SPDX-License-Identifier: MIT */
/* See refusal.h. */
#include "support/refusal.h"

#include "base/base.h"

#define LEFT_OVER "left over from an earlier call"

void test_spoil_last_error(void)
{
    cny_fail(CONEY_E_SYSTEM, LEFT_OVER);
}

bool test_said(coney_status status)
{
    const coney_error *error = coney_last_error_details();
    size_t size = strlen(error->text);
    bool is_sentence = size > 10 && !strchr(".: \n", error->text[size - 1]) && !strstr(error->text, "(null)");
    return error->status == status && is_sentence && !strstr(error->text, LEFT_OVER);
}
