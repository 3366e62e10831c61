/* SPDX-License-Identifier: MIT */
/* The options of a template, and options of a call that override them. Private to the folder. */
#ifndef CNY_TEMPLATE_OPTIONS_H
#define CNY_TEMPLATE_OPTIONS_H

#include "rabbit/template/template.h"

coney_status cny_template_check_options(const coney_template_options *options);

/* Copies the options into a new template and fills in the defaults. CONEY_E_NO_MEMORY. */
coney_status cny_template_copy_options(coney_template *sender, const coney_template_options *given);

/* The name of the queue to receive from: the one given, or the template's. */
coney_status cny_template_receive_queue(const coney_template *sender, const char **queue);

static inline bool cny_template_is_mandatory(const coney_template *sender, const coney_send_options *options)
{
    return options->return_unroutable || (!options->drop_unroutable && !sender->options.drop_unroutable);
}

static inline int64_t cny_template_deadline(const coney_template *sender, const coney_send_options *options)
{
    return cny_deadline_about(options && options->timeout_ms > 0 ? options->timeout_ms : sender->options.timeout_ms);
}

#endif
