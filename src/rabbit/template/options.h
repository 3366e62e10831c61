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

bool cny_template_is_mandatory(const coney_template *sender, const coney_send_options *options);
int64_t cny_template_deadline(const coney_template *sender, const coney_send_options *options);

#endif
