/* SPDX-License-Identifier: MIT */
/* Sends of objects, as C11 and as C++. With -DWRONG=1 and so on one of them is given another kind of object, and run.sh
 * expects that this does not compile. */
#include <coney/coney.h>

typedef struct carrot {
    int64_t id;
} carrot;

typedef struct message {
    int64_t id;
} message;

extern const coney_type carrot_type, carrots_type, message_type;

CONEY_TYPED(carrot, carrot, carrot_type);
CONEY_TYPED(carrots, coney_list, carrots_type);
CONEY_TYPED(message, message, message_type); /* as a parameter of Coney is called */

coney_status use(coney_template *sender, const carrot *one, const message *other, const json_t *json);

coney_status use(coney_template *sender, const carrot *one, const message *other, const json_t *json)
{
    carrot *root = NULL;
    message *leaf = NULL;
    coney_status status = carrot_send(sender, "q", one, NULL);
    if (status == CONEY_OK)
        status = coney_template_send_json(sender, "q", json, NULL);
    if (status == CONEY_OK)
        status = carrot_receive(sender, "q", &root, 0);
    coney_object_free(root);
    (void)other, (void)leaf;
#if WRONG == 1
    status = carrot_send(sender, "q", other, NULL);
#elif WRONG == 2
    status = carrot_receive(sender, "q", &leaf, 0);
#elif WRONG == 3
    status = coney_template_send_json(sender, "q", one, NULL);
#elif WRONG == 4
    status = coney_template_send_text(sender, "q", json, NULL);
#elif WRONG == 5
    status = carrots_send(sender, "q", one, NULL);
#endif
    return status;
}
