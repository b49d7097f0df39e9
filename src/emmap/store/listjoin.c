/* Whole lists: cut in two, joined, put in another order, given up. */
#include "list.h"
#include "listtree.h"

#include <stdlib.h>

/* What one join of the many below takes for each level of the trees, in nodes: a path owned, neighbours,
 * nodes split; twice cut, and joined on either side of the cut. */
#define NODES_A_LEVEL 40

/* Giving up */

static int drop(struct emmap_txn *txn, uint64_t at, uint64_t count, unsigned height, int is_root, int values)
{
    struct emmap_list_step step;
    int rc = emmap_list_look(txn->store, at, count, height, is_root, &step);
    if (rc == 0)
        rc = emmap_list_adds_up(txn->store, height, &step);
    for (unsigned i = 0; rc == 0 && i < step.n; i++) {
        const union emmap_list_item *item = &step.node->items[i];
        if (height > 0)
            rc = drop(txn, item->child.ref, item->child.count, height - 1, 0, values);
        else if (values)
            rc = emmap_slot_retire(txn, &item->slot);
    }
    return rc < 0 ? rc : emmap_retire(txn, at);
}

/* With or without the values that slots refer to. */
static int drop_tree(struct emmap_txn *txn, struct emmap_list_tree tree, int values)
{
    struct emmap_list_path path;
    if (tree.root == 0)
        return 0;
    int rc = emmap_list_descend(txn->store, tree, 0, &path);
    return rc < 0 ? rc : drop(txn, tree.root, tree.count, path.height, 1, values);
}

int emmap_list_drop(struct emmap_txn *txn, uint64_t root, uint64_t count)
{
    return drop_tree(txn, (struct emmap_list_tree){root, count}, 1);
}

/* Joining: the lower tree becomes a child at the edge of the higher one, or what it has goes into a node
 * there. Either way the root may be split. */

static int merge(struct emmap_txn *txn, struct emmap_list_block *node, const struct emmap_list_block *low,
                 int after)
{
    /* SAFETY: both are checked, and the node has room for both. */
    union emmap_list_item *place = node->items + (after ? node->n : 0);
    if (!after)
        memmove(node->items + low->n, node->items, node->n * sizeof *node->items);
    memcpy(place, low->items, low->n * sizeof *low->items);
    node->n = (uint16_t)(node->n + low->n);
    return emmap_retire(txn, emmap_list_offset(txn->store, low));
}

/* Shares what two roots, or an edge and a root, have. */
static int even(struct emmap_txn *txn, struct emmap_list_tree *left, struct emmap_list_tree *right)
{
    int rc = 0;
    struct emmap_list_block *a = emmap_list_own(txn, &left->root, EMMAP_LIST_MOST, &rc);
    struct emmap_list_block *b = a == NULL ? NULL : emmap_list_own(txn, &right->root, EMMAP_LIST_MOST, &rc);
    if (b == NULL)
        return rc;
    emmap_list_level(a, b, (a->n + b->n + 1U) / 2);
    left->count = emmap_list_weight(a);
    right->count = emmap_list_weight(b);
    return 0;
}

/* Makes two nodes of equal height such that both may be children, or leaves them. */
static int settle(struct emmap_txn *txn, struct emmap_list_tree *edge, struct emmap_list_tree *low, int after,
                  int is_settled)
{
    return is_settled ? 0 : after ? even(txn, edge, low) : even(txn, low, edge);
}

static int join(struct emmap_txn *txn, struct emmap_list_tree *left, struct emmap_list_tree right)
{
    struct emmap_list_path paths[2];
    if (right.root == 0)
        return 0;
    if (left->root == 0) {
        *left = right;
        return 0;
    }
    int rc = emmap_list_descend(txn->store, *left, left->count, &paths[0]);
    if (rc == 0)
        rc = emmap_list_descend(txn->store, right, 0, &paths[1]);
    if (rc < 0)
        return rc;
    int after = paths[0].height >= paths[1].height;
    struct emmap_list_path *path = after ? &paths[0] : &paths[1];
    struct emmap_list_tree tall = after ? *left : right, low = after ? right : *left, edge;
    unsigned height = (after ? &paths[1] : &paths[0])->height;
    const struct emmap_list_step *top = &(after ? &paths[1] : &paths[0])->steps[height];
    struct emmap_list_step *step = &path->steps[height];
    unsigned total = step->n + top->n;
    left->count += right.count;
    if (total <= EMMAP_LIST_MOST) {
        step->room = (uint16_t)total;
        rc = emmap_list_own_path(txn, &tall.root, path, height, low.count);
        left->root = tall.root;
        return rc < 0 ? rc : merge(txn, step->node, top->node, after);
    }
    int is_settled = step->n >= EMMAP_LIST_LEAST && top->n >= EMMAP_LIST_LEAST;
    if (height == path->height) {
        rc = settle(txn, &tall, &low, after, is_settled);
        return rc < 0 ? rc
                      : emmap_list_new_root(txn, height + 1, after ? tall : low, after ? low : tall, &left->root);
    }
    unsigned child = step[1].i;
    rc = emmap_list_plan_put(txn->store, path, height + 1, after ? child + 1 : child);
    if (rc == 0)
        rc = emmap_list_own_path(txn, &tall.root, path, height + 1, low.count);
    if (rc < 0)
        return rc;
    struct emmap_list_child *place = &step[1].node->items[child].child;
    edge = (struct emmap_list_tree){place->ref, place->count};
    rc = settle(txn, &edge, &low, after, is_settled);
    if (rc < 0)
        return rc;
    *place = (struct emmap_list_child){.ref = edge.root, .count = edge.count};
    union emmap_list_item item = {.child = {.ref = low.root, .count = low.count}};
    if (emmap_list_put(txn, &tall.root, path, height + 1, &item, &rc) == NULL)
        return rc;
    left->root = tall.root;
    return 0;
}

/* Cutting: what is left and right of the path are trees of each height, joined from the lowest on. */

static int piece(struct emmap_txn *txn, const struct emmap_list_step *step, unsigned height, unsigned from,
                 unsigned to, struct emmap_list_tree *tree)
{
    const union emmap_list_item *items = step->node->items;
    int rc = 0;
    *tree = (struct emmap_list_tree){0};
    if (from == to)
        return 0;
    if (height > 0 && to - from == 1) {
        *tree = (struct emmap_list_tree){items[from].child.ref, items[from].child.count};
        return 0;
    }
    struct emmap_list_block *node = emmap_list_new(txn, height, to - from, &tree->root, &rc);
    if (node == NULL)
        return rc;
    /* SAFETY: the path's step has been checked to have these items, and the new node has the room. */
    memcpy(node->items, items + from, (to - from) * sizeof *items);
    node->n = (uint16_t)(to - from);
    tree->count = emmap_list_weight(node);
    return 0;
}

static int cut(struct emmap_txn *txn, struct emmap_list_tree tree, uint64_t at, struct emmap_list_tree *left,
               struct emmap_list_tree *right)
{
    struct emmap_list_path path;
    *left = *right = (struct emmap_list_tree){0};
    *(at == 0 ? right : left) = tree;
    if (at == 0 || at == tree.count)
        return 0;
    *left = (struct emmap_list_tree){0};
    int rc = emmap_list_descend(txn->store, tree, at, &path);
    for (unsigned h = 0; rc == 0 && h <= path.height; h++) {
        struct emmap_list_tree before, behind;
        const struct emmap_list_step *step = &path.steps[h];
        rc = piece(txn, step, h, 0, step->i, &before);
        if (rc == 0)
            rc = piece(txn, step, h, step->i + (h > 0), step->n, &behind);
        if (rc == 0)
            rc = emmap_retire(txn, emmap_list_offset(txn->store, step->node));
        if (rc == 0)
            rc = join(txn, &before, *left);
        if (rc == 0)
            rc = join(txn, right, behind);
        *left = before;
    }
    return rc;
}

int emmap_list_splice(struct emmap_txn *txn, uint64_t *root, uint64_t *count, uint64_t from, uint64_t to,
                      uint64_t other, uint64_t other_count)
{
    struct emmap_list_tree before, replaced, behind, rest;
    int rc = emmap_prepare(txn, NODES_A_LEVEL * EMMAP_LIST_BYTES(EMMAP_LIST_MOST) * (EMMAP_LIST_HIGHEST + 1));
    if (rc == 0)
        rc = cut(txn, (struct emmap_list_tree){*root, *count}, to, &rest, &behind);
    if (rc == 0)
        rc = cut(txn, rest, from, &before, &replaced);
    if (rc == 0)
        rc = join(txn, &before, (struct emmap_list_tree){other, other_count});
    if (rc == 0)
        rc = join(txn, &before, behind);
    if (rc == 0)
        rc = drop_tree(txn, replaced, 1);
    if (rc < 0)
        return rc;
    *root = before.root;
    *count = before.count;
    return 0;
}

/* Another order */

/* The slots of a list, malloc'ed. */
static int read_all(struct emmap_store *store, struct emmap_list_tree tree, struct emmap_slot **slots)
{
    struct emmap_list_cursor cursor;
    const struct emmap_slot *slot;
    int rc = 0;
    *slots = NULL;
    if (!emmap_list_fits(store, tree.count))
        return emmap_wrong(store, tree.root, "a list has more elements than the file has room for");
    *slots = malloc(tree.count * sizeof **slots + 1);
    if (*slots == NULL)
        return -ENOMEM;
    emmap_list_cursor_begin(&cursor, store, tree.root, tree.count, 0, 1);
    for (uint64_t i = 0; rc == 0 && i < tree.count; i++) {
        rc = emmap_list_cursor_next(&cursor, &slot);
        if (rc == 0 && slot->tag == 0)
            rc = emmap_wrong(store, tree.root, "a list has an element that is nothing");
        if (rc == 0)
            (*slots)[i] = *slot;
    }
    if (rc < 0)
        free(*slots);
    return rc;
}

/* A list of these slots. What has been taken is zeros. */
static int build(struct emmap_txn *txn, struct emmap_slot *slots, uint64_t count, const uint64_t *order,
                 uint64_t n, struct emmap_list_tree *tree)
{
    struct emmap_slot *slot;
    for (uint64_t i = 0; i < n; i++) {
        if (order[i] >= count || slots[order[i]].tag == 0)
            return -EINVAL;
        int rc = emmap_list_open(txn, tree, tree->count, &slot);
        if (rc < 0)
            return rc;
        *slot = slots[order[i]];
        slots[order[i]] = (struct emmap_slot){0};
    }
    return 0;
}

int emmap_list_rearrange(struct emmap_txn *txn, uint64_t *root, uint64_t *count, const uint64_t *order,
                         uint64_t n)
{
    struct emmap_list_tree old = {*root, *count}, new = {0};
    struct emmap_slot *slots;
    int rc = read_all(txn->store, old, &slots);
    if (rc < 0)
        return rc;
    rc = build(txn, slots, old.count, order, n, &new);
    if (rc < 0) {
        drop_tree(txn, new, 0);
    } else {
        rc = drop_tree(txn, old, 0);
        for (uint64_t i = 0; rc == 0 && i < old.count; i++)
            rc = emmap_slot_retire(txn, &slots[i]);
    }
    free(slots);
    if (rc < 0)
        return rc;
    *root = new.root;
    *count = new.count;
    return 0;
}
