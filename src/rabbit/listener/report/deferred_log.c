/* SPDX-License-Identifier: MIT */
/* Log lines that wait until no lock is held. Any thread that holds the lock of the buffer. */
#include "rabbit/listener/report/report.h"

#include <stdarg.h>
#include <stdio.h>

typedef struct line {
    coney_log_level level;
    char text[4096];
} line;

/* Without memory the line is lost. */
void cny_defer_log(cny_buffer *lines, coney_log_level level, const char *format, ...)
{
    line one = {.level = level};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(one.text, sizeof one.text, format, arguments);
    va_end(arguments);
    cny_buffer_append(lines, &one, sizeof one);
}

void cny_write_deferred_log(cny_buffer *lines)
{
    const line *all = (const line *)(const void *)lines->data;
    for (size_t i = 0; i < lines->size / sizeof *all; i++)
        cny_log(all[i].level, "%s", all[i].text);
    cny_buffer_free(lines);
}
