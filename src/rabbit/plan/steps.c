/* SPDX-License-Identifier: MIT */
/* Tells the steps of applying a plan. On the thread that applies. */
#include "rabbit/plan/plan.h"

#include <stdarg.h>
#include <stdio.h>

void cny_apply_step(const cny_applying *one, const char *format, ...)
{
    char text[1200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    cny_log(CONEY_LOG_INFO, "apply: %s", text);
    if (one->options->on_step)
        one->options->on_step(text, one->options->user);
}
