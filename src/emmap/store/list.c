#include "list.h"

#include "directory.h"
#include "listtree.h"

#define ARRAY 12                /* as in codec: its payload always lies in a value's block */
#define ELSEWHERE 255           /* what is inline is the offset of an EMMAP_VALUE */

/* Slots */

static uint64_t value_of(const struct emmap_slot *slot)
{
    uint64_t at;
    memcpy(&at, slot->bytes + 6, sizeof at);
    return at;
}

const unsigned char *emmap_slot_payload(struct emmap_store *store, const struct emmap_slot *slot, uint64_t *n)
{
    unsigned inline_n = slot->n;
    if (inline_n == ELSEWHERE)
        return emmap_value_at(store, value_of(slot), n);
    /* SAFETY: a checked leaf's slot. Views of arrays rely on the alignment of a value's block. */
    if (inline_n > sizeof slot->bytes || slot->tag == ARRAY) {
        emmap_wrong(store, emmap_list_offset(store, slot), "a list's element has another length");
        return NULL;
    }
    *n = inline_n;
    return slot->bytes;
}

/* What an element is to become: what of it does not fit into the slot is allocated before anything is
 * touched. */
struct element {
    uint64_t value;             /* 0: all lies in the slot */
    unsigned char *payload;
    uint8_t tag, n;
};

static int element_new(struct emmap_txn *txn, struct element *element, uint8_t tag, uint64_t n)
{
    int rc = 0;
    *element = (struct element){.tag = tag, .n = (uint8_t)n};
    if (n <= sizeof((struct emmap_slot *)0)->bytes && tag != ARRAY)
        return 0;
    element->n = ELSEWHERE;
    element->value = emmap_value_new(txn, n, &element->payload, &rc);
    return element->value == 0 ? rc : 0;
}

/* Gives it up again, after an error: which one. */
static int element_drop(struct emmap_txn *txn, const struct element *element, int rc)
{
    if (element->value != 0)
        emmap_retire(txn, element->value);
    return rc;
}

static unsigned char *element_put(const struct element *element, struct emmap_slot *slot)
{
    *slot = (struct emmap_slot){.tag = element->tag, .n = element->n};
    if (element->value == 0)
        return slot->bytes;
    memcpy(slot->bytes + 6, &element->value, sizeof element->value);
    return element->payload;
}

/* The value's block that goes with a slot, 0: none. It is checked. */
static int value_to_retire(struct emmap_store *store, const struct emmap_slot *slot, uint64_t *value)
{
    uint64_t n;
    *value = 0;
    if (slot->n != ELSEWHERE)
        return 0;
    if (emmap_value_at(store, value_of(slot), &n) == NULL)
        return emmap_wrong_rc(store);
    *value = value_of(slot);
    return 0;
}

int emmap_slot_retire(struct emmap_txn *txn, const struct emmap_slot *slot)
{
    uint64_t value;
    int rc = value_to_retire(txn->store, slot, &value);
    return rc != 0 || value == 0 ? rc : emmap_retire(txn, value);
}

/* Elements */

static int find(struct emmap_store *store, uint64_t root, uint64_t count, uint64_t index,
                struct emmap_list_path *path)
{
    return emmap_list_descend(store, (struct emmap_list_tree){root, count}, index, path);
}

int emmap_list_get(struct emmap_store *store, uint64_t root, uint64_t count, uint64_t index,
                   const struct emmap_slot **slot)
{
    struct emmap_list_path path;
    int rc = find(store, root, count, index, &path);
    if (rc == 0)
        *slot = &path.steps[0].node->items[path.steps[0].i].slot;
    return rc;
}

/* Finds an element that is to be replaced, and the value that goes with it. */
static int find_old(struct emmap_store *store, uint64_t root, uint64_t count, uint64_t index,
                    struct emmap_list_path *path, uint64_t *value)
{
    int rc = find(store, root, count, index, path);
    return rc != 0 ? rc : value_to_retire(store, &path->steps[0].node->items[path->steps[0].i].slot, value);
}

int emmap_list_set(struct emmap_txn *txn, uint64_t *root, uint64_t count, uint64_t index,
                   uint8_t tag, uint64_t value_n, unsigned char **payload)
{
    struct emmap_list_path path;
    struct element element;
    uint64_t old;
    int rc = element_new(txn, &element, tag, value_n);
    if (rc != 0)
        return rc;
    rc = find_old(txn->store, *root, count, index, &path, &old);
    if (rc == 0)
        rc = emmap_prepare(txn, EMMAP_OPERATION);
    if (rc == 0)
        rc = emmap_list_own_path(txn, root, &path, 0, 0, 0);
    if (rc != 0)
        return element_drop(txn, &element, rc);
    *payload = element_put(&element, &path.steps[0].node->items[path.steps[0].i].slot);
    return old == 0 ? 0 : emmap_retire(txn, old);
}

int emmap_list_insert(struct emmap_txn *txn, uint64_t *root, uint64_t *count, uint64_t index,
                      uint8_t tag, uint64_t value_n, unsigned char **payload)
{
    struct emmap_list_tree tree = {*root, *count};
    struct emmap_slot *slot;
    struct element element;
    int rc = element_new(txn, &element, tag, value_n);
    if (rc != 0)
        return rc;
    rc = emmap_list_open(txn, &tree, index, &slot);
    if (rc != 0)
        return element_drop(txn, &element, rc);
    *payload = element_put(&element, slot);
    *root = tree.root;
    *count = tree.count;
    return 0;
}

int emmap_list_delete(struct emmap_txn *txn, uint64_t *root, uint64_t *count, uint64_t index)
{
    struct emmap_list_path path;
    uint64_t old;
    int rc = find_old(txn->store, *root, *count, index, &path, &old);
    if (rc == 0)
        rc = emmap_list_plan_take(txn->store, &path);
    if (rc == 0)
        rc = emmap_prepare(txn, EMMAP_OPERATION);
    if (rc == 0)
        rc = emmap_list_own_path(txn, root, &path, 0, 0, (uint64_t)-1);
    if (rc == 0)
        rc = emmap_list_take(txn, root, &path);
    if (rc != 0)
        return rc;
    --*count;
    return old == 0 ? 0 : emmap_retire(txn, old);
}

/* Walking: one descent for each leaf. */

void emmap_list_cursor_begin(struct emmap_list_cursor *cursor, struct emmap_store *store, uint64_t root,
                             uint64_t count, uint64_t index, int step)
{
    uint64_t left = index >= count ? 0 : step > 0 ? count - index : index + 1;
    *cursor = (struct emmap_list_cursor){
        .store = store, .root = root, .count = count, .index = index, .left = left, .step = step};
}

int emmap_list_cursor_next(struct emmap_list_cursor *cursor, const struct emmap_slot **slot)
{
    uint64_t index = cursor->index;
    *slot = NULL;
    if (cursor->left == 0)
        return 0;
    if (index < cursor->first || index >= cursor->end) {
        struct emmap_list_path path;
        int rc = find(cursor->store, cursor->root, cursor->count, index, &path);
        if (rc != 0)
            return rc;
        cursor->slots = &path.steps[0].node->items[0].slot;
        cursor->first = index - path.steps[0].i;
        cursor->end = cursor->first + path.steps[0].n;
    }
    /* SAFETY: the leaf was found to have all slots from `first` to before `end`. */
    *slot = cursor->slots + (index - cursor->first);
    cursor->left--;
    cursor->index = cursor->step > 0 ? index + 1 : index - 1;
    return 0;
}
