/* SPDX-License-Identifier: MIT */
/* Draws rows with bars: green is done, yellow waits in the queue, grey is still to come. */
#include "screen.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BAR_CELLS 24
#define ROW_COLUMNS 80
#define LIVE_MS 100
#define PLAIN_MS 500

static bool live;
static int rows_on_screen;
static int64_t next_ms;

void screen_init(void)
{
    struct winsize window = {0};
    const char *terminal = getenv("TERM");
    live = isatty(STDOUT_FILENO) && terminal && strcmp(terminal, "dumb") != 0 && !getenv("NO_COLOR");
    if (live && ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0)
        live = window.ws_col >= ROW_COLUMNS; /* a row that wraps cannot be redrawn */
    setvbuf(stdout, NULL, _IOFBF, 1 << 14);  /* one write a picture, so that nothing flickers */
}

void screen_title(const char *title, const char *subtitle)
{
    printf(live ? "\n\033[1m%s\033[0m\n\033[90m%s\033[0m\n" : "\n%s\n%s\n", title, subtitle);
    fflush(stdout);
    rows_on_screen = 0;
    next_ms = 0;
}

struct screen_number screen_number(int64_t number)
{
    struct screen_number grouped;
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%" PRId64, number);
    char *out = grouped.text;
    for (int i = 0; i < length; i++) {
        if (i > 0 && digits[i - 1] != '-' && (length - i) % 3 == 0)
            *out++ = ',';
        *out++ = digits[i];
    }
    *out = '\0';
    return grouped;
}

static void draw_cells(const char *colour, const char *cell, int64_t count)
{
    printf("%s", colour);
    for (int64_t i = 0; i < count; i++)
        printf("%s", cell);
}

static void draw_bar(const struct screen_row *row)
{
    int64_t total = row->total > 0 ? row->total : 1;
    int64_t done = row->done * BAR_CELLS / total;
    int64_t waiting = row->waiting > 0 ? (row->waiting * BAR_CELLS + total / 2) / total : 0;
    if (waiting > BAR_CELLS - done)
        waiting = BAR_CELLS - done;
    draw_cells("\033[32m", "█", done);
    draw_cells("\033[33m", "▒", waiting);
    draw_cells("\033[90m", "░", BAR_CELLS - done - waiting);
    printf("\033[0m");
}

static void draw_row(const struct screen_row *row)
{
    printf("  %-9s  ", row->name);
    draw_bar(row);
    printf(" %7s %-7s", screen_number(row->done).text, row->verb);
    if (row->waiting >= 0)
        printf(" %7s waiting", screen_number(row->waiting).text);
    printf(row->alarm ? "  \033[31m%s\033[0m\033[K\n" : "  %s\033[K\n", row->note);
}

static void print_row(const struct screen_row *row)
{
    printf("  %s %s", row->name, screen_number(row->done).text);
    if (row->waiting > 0)
        printf(" +%s", screen_number(row->waiting).text);
    if (*row->note)
        printf(" (%s)", row->note);
}

void screen_show(const struct screen_row *rows, int count, int64_t elapsed_ms, bool last)
{
    if (elapsed_ms < next_ms && !last)
        return;
    next_ms = elapsed_ms + (live ? LIVE_MS : PLAIN_MS);
    if (live && rows_on_screen > 0)
        printf("\033[%dA", rows_on_screen);
    if (!live)
        printf("%5.1f s", (double)elapsed_ms / 1000);
    for (int i = 0; i < count; i++)
        live ? draw_row(&rows[i]) : print_row(&rows[i]);
    if (!live)
        printf("\n");
    fflush(stdout);
    rows_on_screen = count;
}
