/* SPDX-License-Identifier: MIT */
/* Shows how far everybody is: bars that are redrawn in place on a terminal, a line about twice a
 * second elsewhere. */
#ifndef SHOP_DEMO_SCREEN_H
#define SHOP_DEMO_SCREEN_H

#include <stdbool.h>
#include <stdint.h>

struct screen_row {
    const char *name;
    const char *verb; /* "handled" */
    int64_t total;
    int64_t done;
    int64_t waiting;  /* in the queue; below 0: it has none */
    const char *note; /* "1,500/s"; "" for none */
    bool alarm;       /* the note is bad news */
};

void screen_init(void);

/* A headline; the next rows begin below it. */
void screen_title(const char *title, const char *subtitle);

/* Draws the rows if it is time to, or if this is the act's last picture. */
void screen_show(const struct screen_row *rows, int count, int64_t elapsed_ms, bool last);

/* 12,345 */
struct screen_number {
    char text[28];
};
struct screen_number screen_number(int64_t number);

#endif
