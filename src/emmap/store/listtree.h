/* The tree under a list: nodes looked at with distrust, and items put in and taken out at any height.
 *
 * All is looked at before anything is changed, so that damage is found while the list is as it was: first a
 * path from the root is read and checked, then it is planned which nodes of it (and which neighbours)
 * become fuller or emptier, then space is prepared, and then the path is owned and changed.
 */
#ifndef EMMAP_LISTTREE_H
#define EMMAP_LISTTREE_H

#include "space.h"

#define EMMAP_LIST_LEAST (EMMAP_LIST_MOST / 4)
#define EMMAP_LIST_HIGHEST 16
#define EMMAP_LIST_BYTES(items) (16 + 16 * (uint64_t)(items))

/* Leaves and nodes above them have one form: items are slots at height 0, and children above. */
union emmap_list_item {
    struct emmap_slot slot;
    struct emmap_list_child child;
};
struct emmap_list_block {
    uint64_t header;
    uint16_t n, height;
    uint32_t capacity;
    union emmap_list_item items[];
};

_Static_assert(sizeof(union emmap_list_item) == 16, "an item has 16 bytes");
_Static_assert(offsetof(struct emmap_list_block, items) == offsetof(struct emmap_list_leaf, slots) &&
                   offsetof(struct emmap_list_block, items) == offsetof(struct emmap_list_node, children),
               "leaves and nodes have one form");

struct emmap_list_tree {
    uint64_t root, count;       /* both 0: empty */
};

enum emmap_list_plan {
    EMMAP_LIST_STAYS,           /* has as many items as before */
    EMMAP_LIST_TAKES,           /* has room for one more, */
    EMMAP_LIST_LEFT,            /* or makes it by filling its left neighbour, */
    EMMAP_LIST_RIGHT,           /* or its right one, */
    EMMAP_LIST_SPLITS,          /* or becomes two */
    EMMAP_LIST_SHRINKS,         /* can spare one, */
    EMMAP_LIST_EVENS,           /* or shares what is left with a neighbour, */
    EMMAP_LIST_MERGES,          /* or becomes one with it */
};

/* A node that was looked at. What it said is kept here: in a damaged file one block may be two things, so
 * nothing in it is believed a second time. */
struct emmap_list_step {
    struct emmap_list_block *node;
    uint64_t count;             /* elements below, as the parent says */
    uint16_t n, capacity;       /* items, and how many there is room for */
    uint16_t i;                 /* which one the path goes through */
    uint16_t plan;
};

/* From the root to a slot, and the neighbours that the plan is about. By height: the leaf is the first. */
struct emmap_list_path {
    unsigned height;
    struct emmap_list_step steps[EMMAP_LIST_HIGHEST + 1];
    struct emmap_list_step beside[EMMAP_LIST_HIGHEST + 1];
};

/* Reads and checks the path to an element. To `count`: behind the last one. */
int emmap_list_descend(struct emmap_store *store, struct emmap_list_tree tree, uint64_t index,
                       struct emmap_list_path *path);

/* Checks a node's place, its form, and that its counts add up. */
int emmap_list_look(struct emmap_store *store, uint64_t at, uint64_t count, unsigned height, int is_root,
                    struct emmap_list_step *step);
int emmap_list_adds_up(struct emmap_store *store, unsigned height, const struct emmap_list_step *step);

/* Elements below a node. */
uint64_t emmap_list_weight(unsigned height, const struct emmap_list_step *step);

/* SAFETY: what has been checked lies behind the mapping's first byte. */
static inline uint64_t emmap_list_offset(const struct emmap_store *store, const void *inside)
{
    return (uint64_t)((const unsigned char *)inside - store->base);
}

/* The number of elements is told by the record alone, and bounds all walks: no file has more than fit in. */
static inline int emmap_list_fits(struct emmap_store *store, uint64_t count)
{
    return count <= SIZE_MAX / 32 && emmap_has(store, 0, count * sizeof(struct emmap_slot));
}

/* An empty node for so many items. */
int emmap_list_new(struct emmap_txn *txn, unsigned height, unsigned room, uint64_t *at,
                   struct emmap_list_step *step);

/* Makes a node that was looked at one that may be changed, with room for so many items. Its offset is at
 * `*at`, and so is that of its copy then. */
int emmap_list_own(struct emmap_txn *txn, unsigned height, struct emmap_list_step *step, unsigned room,
                   uint64_t *at);

/* Plans that an item be put in before the `i`th of the node at that height. */
int emmap_list_plan_put(struct emmap_store *store, struct emmap_list_path *path, unsigned height, unsigned i);

/* Owns the path down to that height, where there will be room for so many; so many elements more will be
 * below it. */
int emmap_list_own_path(struct emmap_txn *txn, uint64_t *root, struct emmap_list_path *path, unsigned height,
                        unsigned room, uint64_t added);

/* Puts a child in as planned (or a slot, which the caller fills: `item` is NULL then). The path is owned. */
union emmap_list_item *emmap_list_put(struct emmap_txn *txn, uint64_t *root, struct emmap_list_path *path,
                                      unsigned height, const union emmap_list_item *item, int *rc);

/* Plans that the slot at the path's end be taken out, and takes it out. */
int emmap_list_plan_take(struct emmap_store *store, struct emmap_list_path *path);
int emmap_list_take(struct emmap_txn *txn, uint64_t *root, struct emmap_list_path *path);

/* A root above two trees of equal height. */
int emmap_list_new_root(struct emmap_txn *txn, unsigned height, struct emmap_list_tree left,
                        struct emmap_list_tree right, uint64_t *root);

/* Moves items between neighbours until the left one has so many. Both are owned, and have the room. */
void emmap_list_level(struct emmap_list_step *left, struct emmap_list_step *right, unsigned n);

/* Adds all items of another node behind the last or before the first one. There is the room. */
void emmap_list_add(struct emmap_list_step *step, const struct emmap_list_step *other, int behind);

/* All of the above for one new slot: prepares, and opens a place for it that the caller fills. */
int emmap_list_open(struct emmap_txn *txn, struct emmap_list_tree *tree, uint64_t index,
                    struct emmap_slot **slot);

/* Gives up the value that a slot refers to, if it does. */
int emmap_slot_retire(struct emmap_txn *txn, const struct emmap_slot *slot);

#endif
