/* SPDX-License-Identifier: MIT */
/* Coney's log: its lines, levels and sink. (Spring: its logger.) */
#ifndef CONEY_AMQP_LOG_H
#define CONEY_AMQP_LOG_H

#include <coney/amqp/api.h>

CONEY_BEGIN

typedef enum coney_log_level {
    CONEY_LOG_ERROR,
    CONEY_LOG_WARN,
    CONEY_LOG_INFO,
    CONEY_LOG_DEBUG,
    CONEY_LOG_OFF = -1, /* For coney_log_set_level(): nothing is logged. */
} coney_log_level;

/* Receives one line, without a line end. text is a view for the call, in UTF-8. Texts of others appear in it with a '?'
 * for every character that would end the line, control a terminal or change the reading direction (docs/security.md).
 * Runs on any thread but an I/O thread, with no Coney lock held. The sink must be quick, because nothing recovers while
 * it runs on the recovery thread, and it must not call Coney. */
typedef void coney_log_sink(coney_log_level level, const char *text, void *user);

/* Replaces the sink for the whole process. NULL restores the default sink, which writes to stderr. Only with the
 * default sink a line at the end of the process tells how many messages are unconfirmed (docs/publishing.md). Any
 * thread; the old sink may still be running on another thread when this returns. */
CONEY_API void coney_log_set_sink(coney_log_sink *sink, void *user);

/* Sets the last level that is logged. Default: CONEY_LOG_WARN. Any thread. */
CONEY_API void coney_log_set_level(coney_log_level level);

/* "error", "warn", "info" or "debug". View of static text. */
CONEY_API const char *coney_log_level_name(coney_log_level level);

CONEY_END

#endif
