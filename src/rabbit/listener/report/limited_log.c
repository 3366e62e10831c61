/* SPDX-License-Identifier: MIT */
/* Log lines about messages, limited in number: of each topic a listener writes one line, and then one for each pause.
 * The line that is written at the end of a pause is the latest of those that were held back, and names the messages
 * that the others were about.
 *
 * Any thread. The thread that the log wakes writes what was held back. */
#include "rabbit/listener/report/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PAUSE_MS 1000
#define MAX_TOLD_APART 1000 /* messages; further messages are counted each time they fail */
#define MAX_NAMED 5
#define MAX_LINE 2048

/* A message that fails again and again counts as one message. Without an id it is known by its delivery tag. */
typedef struct mention {
    uint64_t message; /* 0: no message, or one that cannot be told from others */
    char *id;         /* NULL: it has none, or it is not needed */
} mention;

typedef struct cny_held_back {
    coney_log_level level;
    mention about;
    bool is_about_message;
    char text[MAX_LINE];
} cny_held_back;

bool cny_limited_log_init(cny_limited_log *log)
{
    return pthread_mutex_init(&log->lock, NULL) == 0;
}

/* ---- lines that are held back; under lock ---- */

static uint64_t identity_of(const coney_message *message)
{
    const char *id = message ? cny_message_id(message) : NULL;
    if (id)
        return (UINT64_C(1) << 32) | cny_hash(id, strlen(id));
    return message && message->delivery_tag ? (UINT64_C(1) << 63) | message->delivery_tag : 0;
}

static mention *mentions_of(const cny_throttle *of, size_t *count)
{
    *count = of->mentions.size / sizeof(mention);
    return (mention *)(void *)of->mentions.data;
}

static bool is_mentioned(const cny_throttle *of, uint64_t message)
{
    size_t count;
    const mention *all = mentions_of(of, &count);
    for (size_t i = 0; message && i < count; i++) {
        if (all[i].message == message)
            return true;
    }
    return false;
}

/* The line that is held back is not the latest one any more. */
static void mention_held_back(cny_throttle *of)
{
    cny_held_back *line = of->held_back;
    if (!line)
        return;
    of->held_back = NULL;
    size_t count;
    mentions_of(of, &count);
    if (!line->is_about_message)
        of->more_lines++;
    else if (!is_mentioned(of, line->about.message)) {
        if (!line->about.message || count >= MAX_TOLD_APART ||
            !cny_buffer_append(&of->mentions, &line->about, sizeof line->about))
            of->more_messages++;
        else
            line->about.id = NULL;
    }
    cny_free(line->about.id);
    cny_free(line);
}

/* Without memory the line is lost, but it counts. */
static void hold_back(cny_throttle *of, coney_log_level level, const coney_message *about, const char *text)
{
    mention_held_back(of);
    cny_held_back *line = cny_alloc(sizeof *line);
    if (!line) {
        of->more_lines++;
        return;
    }
    *line = (cny_held_back){.level = level, .is_about_message = about != NULL, .about.message = identity_of(about)};
    line->about.id = about ? cny_strdup(cny_message_id(about)) : NULL;
    snprintf(line->text, sizeof line->text, "%.*s", MAX_LINE - 1, text);
    of->held_back = line;
}

static void forget(cny_throttle *of)
{
    size_t count;
    mention *all = mentions_of(of, &count);
    for (size_t i = 0; i < count; i++)
        cny_free(all[i].id);
    cny_buffer_free(&of->mentions);
    of->more_messages = of->more_lines = 0;
}

/* ---- the text ---- */

typedef struct text {
    char *at;
    size_t size, used;
} text;

static void add(text *to, const char *format, ...) CNY_PRINTF(2, 3);
static void add(text *to, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(to->at + to->used, to->size - to->used, format, arguments);
    va_end(arguments);
    if (size > 0)
        to->used = to->used + (size_t)size < to->size ? to->used + (size_t)size : to->size - 1;
}

/* The messages and lines that were held back before a line about that message. */
static void add_others(text *to, const cny_throttle *of, uint64_t message)
{
    size_t count, named = 0;
    const mention *all = mentions_of(of, &count);
    unsigned long long others = of->more_messages + count - is_mentioned(of, message);
    if (others > 0)
        add(to, " (and %llu other message%s before", others, others == 1 ? "" : "s");
    for (size_t i = 0; others > 0 && i < count && named < MAX_NAMED; i++) {
        if (all[i].message != message && all[i].id)
            add(to, "%s'%s'", named++ == 0 ? ": " : ", ", all[i].id);
    }
    if (others > 0)
        add(to, "%s)", named > 0 && named < others ? ", ..." : "");
    if (of->more_lines > 0)
        add(to, " (and %llu more times before)", of->more_lines);
}

/* ---- writing ---- */

void cny_log_limited(cny_limited_log *log, cny_log_topic topic, coney_log_level level, const coney_message *about,
                     const char *format, ...)
{
    char line[MAX_LINE + 2048];
    text all = {.at = line, .size = MAX_LINE};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, MAX_LINE, format, arguments);
    va_end(arguments);
    all.used = strlen(line);
    all.size = sizeof line;
    cny_throttle *of = &log->throttles[topic];
    int64_t now = cny_now_ms();
    pthread_mutex_lock(&log->lock);
    bool is_held_back = now < of->until;
    bool is_first = is_held_back && !of->held_back;
    if (is_held_back) {
        hold_back(of, level, about, line);
    } else {
        of->until = now + PAUSE_MS;
        mention_held_back(of);
        add_others(&all, of, identity_of(about));
        forget(of);
    }
    pthread_mutex_unlock(&log->lock);
    if (!is_held_back)
        cny_log(level, "%s", line);
    if (is_first && log->wake)
        log->wake(log->self);
}

/* Under lock. */
static void defer_held_back(cny_throttle *of, cny_buffer *deferred)
{
    char line[MAX_LINE + 2048];
    text all = {.at = line, .size = sizeof line};
    add(&all, "%s", of->held_back->text);
    add_others(&all, of, of->held_back->about.message);
    cny_defer_log(deferred, of->held_back->level, "%s", line);
    mention_held_back(of);
    forget(of);
}

int64_t cny_limited_log_write(cny_limited_log *log, cny_buffer *deferred, int64_t now, bool all)
{
    int64_t next = INT64_MAX;
    pthread_mutex_lock(&log->lock);
    for (int topic = 0; topic < CNY_LOG_TOPIC_COUNT; topic++) {
        cny_throttle *of = &log->throttles[topic];
        if (!of->held_back)
            continue;
        if (now >= of->until || all) {
            of->until = now + PAUSE_MS;
            defer_held_back(of, deferred);
        } else if (of->until < next) {
            next = of->until;
        }
    }
    pthread_mutex_unlock(&log->lock);
    return next;
}

void cny_limited_log_free(cny_limited_log *log)
{
    for (int topic = 0; topic < CNY_LOG_TOPIC_COUNT; topic++) {
        mention_held_back(&log->throttles[topic]);
        forget(&log->throttles[topic]);
    }
    pthread_mutex_destroy(&log->lock);
}
