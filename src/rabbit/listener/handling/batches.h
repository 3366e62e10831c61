/* SPDX-License-Identifier: MIT */
/* Takes batches apart: from the delivery of a batch to one delivery for each fragment. */
#ifndef CNY_HANDLING_BATCHES_H
#define CNY_HANDLING_BATCHES_H

#include "rabbit/listener/handling/lane.h"

/* Adds the delivery, or its fragments if it is a batch that is to be taken apart, to the items of the lane. Takes it.
 * False: there is no memory. */
bool cny_lane_expand(cny_lane *lane, coney_delivery *taken);

#endif
