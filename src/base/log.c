/* SPDX-License-Identifier: MIT */
/* The log: one sink and one level for the whole process. Any thread. No lock is held while the sink runs. */
#include "base/base.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#define MAX_LINE 1024

static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;
static coney_log_sink *sink; /* under sink_lock; NULL: stderr */
static void *sink_user;      /* under sink_lock */
static atomic_int max_level = CONEY_LOG_WARN;

void coney_log_set_sink(coney_log_sink *new_sink, void *user)
{
    CNY_DISABLE_CANCEL();
    pthread_mutex_lock(&sink_lock);
    sink = new_sink;
    sink_user = user;
    pthread_mutex_unlock(&sink_lock);
}

void coney_log_set_level(coney_log_level level)
{
    atomic_store(&max_level, (int)level);
}

const char *coney_log_level_name(coney_log_level level)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    return level >= CONEY_LOG_ERROR && level <= CONEY_LOG_DEBUG ? names[level] : "off";
}

bool cny_log_wanted(coney_log_level level)
{
    return (int)level <= atomic_load_explicit(&max_level, memory_order_relaxed);
}

bool cny_log_goes_to_stderr(void)
{
    if (pthread_mutex_trylock(&sink_lock) != 0)
        return false;
    bool is_default = !sink;
    pthread_mutex_unlock(&sink_lock);
    return is_default;
}

void cny_log(coney_log_level level, const char *format, ...)
{
    if (!cny_log_wanted(level))
        return;
    char text[MAX_LINE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    cny_text_make_safe(text); /* words of a broker or a publisher must not look like log lines of Coney's */

    pthread_mutex_lock(&sink_lock);
    coney_log_sink *current = sink;
    void *user = sink_user;
    pthread_mutex_unlock(&sink_lock);
    if (current)
        current(level, text, user);
    else
        fprintf(stderr, "coney %s: %s\n", coney_log_level_name(level), text);
}
