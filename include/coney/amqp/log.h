/* SPDX-License-Identifier: MIT */
/* Where Coney's log lines go. (Spring: its logger.) */
#ifndef CONEY_AMQP_LOG_H
#define CONEY_AMQP_LOG_H

#include <coney/amqp/api.h>

CONEY_BEGIN

typedef enum coney_log_level {
    CONEY_LOG_ERROR,
    CONEY_LOG_WARN,
    CONEY_LOG_INFO,
    CONEY_LOG_DEBUG,
    CONEY_LOG_OFF = -1, /* as a level to set: nothing is logged */
} coney_log_level;

/* Receives one line without line end; text is a view for the call, in UTF-8. A '?' stands for every character of
 * another's text that would end the line, steer a terminal or turn the reading order around (docs/security.md). Runs on
 * any thread but an I/O thread; as long as it runs on the recovery thread nothing recovers, so it must be quick, and it
 * must not call Coney. No Coney lock is held. */
typedef void coney_log_sink(coney_log_level level, const char *text, void *user);

/* Replaces the sink for the whole process; NULL restores the default, which writes to stderr. Only the default also
 * tells, when the process ends, how many messages are unconfirmed then (docs/publishing.md).
 * Any thread, but a sink may still be running on another one when this returns. */
CONEY_API void coney_log_set_sink(coney_log_sink *sink, void *user);

/* Lines above this level are not made. The default is CONEY_LOG_WARN. Any thread. */
CONEY_API void coney_log_set_level(coney_log_level level);

/* "error", "warn", "info" or "debug". View of static text. */
CONEY_API const char *coney_log_level_name(coney_log_level level);

CONEY_END

#endif
