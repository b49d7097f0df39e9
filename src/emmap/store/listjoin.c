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
    return rc != 0 ? rc : emmap_retire(txn, at);
}

/* With or without the values that slots refer to. */
static int drop_tree(struct emmap_txn *txn, struct emmap_list_tree tree, int values)
{
    struct emmap_list_path path;
    if (tree.root == 0)
        return 0;
    int rc = emmap_list_descend(txn->store, tree, 0, &path);
    return rc != 0 ? rc : drop(txn, tree.root, tree.count, path.height, 1, values);
}

int emmap_list_drop(struct emmap_txn *txn, uint64_t root, uint64_t count)
{
    return drop_tree(txn, (struct emmap_list_tree){root, count}, 1);
}

/* Joining: the lower tree becomes a child at the edge of the higher one, or what it has goes into a node
 * there. Either way the root may be split. */

/* Makes two nodes of equal height such that both may be children. */
static int settle(struct emmap_txn *txn, unsigned height, struct emmap_list_step *left,
                  struct emmap_list_step *right, uint64_t *left_at, uint64_t *right_at)
{
    unsigned n = (left->n + right->n + 1U) / 2;
    if (left->n >= EMMAP_LIST_LEAST && right->n >= EMMAP_LIST_LEAST)
        return 0;
    int rc = emmap_list_own(txn, height, left, n, left_at);
    if (rc == 0)
        rc = emmap_list_own(txn, height, right, n, right_at);
    if (rc != 0)
        return rc;
    emmap_list_level(left, right, n);
    left->count = emmap_list_weight(height, left);
    right->count = emmap_list_weight(height, right);
    return 0;
}

static int join(struct emmap_txn *txn, struct emmap_list_tree *left, struct emmap_list_tree right)
{
    struct emmap_list_path left_path, right_path;
    if (right.root == 0)
        return 0;
    if (left->root == 0) {
        *left = right;
        return 0;
    }
    int rc = emmap_list_descend(txn->store, *left, left->count, &left_path);
    if (rc == 0)
        rc = emmap_list_descend(txn->store, right, 0, &right_path);
    if (rc != 0)
        return rc;

    /* The lower one goes behind the last element of the higher one, or before the first. */
    int behind = left_path.height >= right_path.height;
    struct emmap_list_path *path = behind ? &left_path : &right_path;
    unsigned height = (behind ? &right_path : &left_path)->height;
    struct emmap_list_step *edge = &path->steps[height];
    struct emmap_list_step *low = &(behind ? &right_path : &left_path)->steps[height];
    uint64_t root = behind ? left->root : right.root, low_at = behind ? right.root : left->root;
    struct emmap_list_step *first = behind ? edge : low, *second = behind ? low : edge;

    if (edge->n + low->n <= EMMAP_LIST_MOST) {
        rc = emmap_list_own_path(txn, &root, path, height, edge->n + low->n, low->count);
        if (rc != 0)
            return rc;
        emmap_list_add(edge, low, behind);
        *left = (struct emmap_list_tree){root, left->count + right.count};
        return emmap_retire(txn, low_at);
    }
    if (height == path->height) {
        rc = settle(txn, height, first, second, behind ? &root : &low_at, behind ? &low_at : &root);
        if (rc != 0)
            return rc;
        struct emmap_list_tree trees[2] = {{root, edge->count}, {low_at, low->count}};
        left->count += right.count;
        return emmap_list_new_root(txn, height + 1, trees[!behind], trees[behind], &left->root);
    }
    unsigned i = edge[1].i;
    rc = emmap_list_plan_put(txn->store, path, height + 1, behind ? i + 1 : i);
    if (rc == 0)
        rc = emmap_list_own_path(txn, &root, path, height + 1, 0, low->count);
    if (rc != 0)
        return rc;
    struct emmap_list_child *place = &edge[1].node->items[i].child;
    rc = settle(txn, height, first, second, behind ? &place->ref : &low_at, behind ? &low_at : &place->ref);
    if (rc != 0)
        return rc;
    place->count = edge->count;
    union emmap_list_item item = {.child = {.ref = low_at, .count = low->count}};
    if (emmap_list_put(txn, &root, path, height + 1, &item, &rc) == NULL)
        return rc;
    *left = (struct emmap_list_tree){root, left->count + right.count};
    return 0;
}

/* Cutting: what is left and right of the path are trees of each height, joined from the lowest on. */

static int piece(struct emmap_txn *txn, const struct emmap_list_step *step, unsigned height, unsigned from,
                 unsigned to, struct emmap_list_tree *tree)
{
    const union emmap_list_item *items = step->node->items;
    *tree = (struct emmap_list_tree){0};
    if (from == to)
        return 0;
    if (height > 0 && to - from == 1) {
        *tree = (struct emmap_list_tree){items[from].child.ref, items[from].child.count};
        return 0;
    }
    struct emmap_list_step fresh;
    int rc = emmap_list_new(txn, height, to - from, &tree->root, &fresh);
    if (rc != 0)
        return rc;
    /* SAFETY: the path's step was looked at and has these items; the new node has room for them. In a damaged
     * file they may overlap. */
    memmove(fresh.node->items, items + from, (to - from) * sizeof *items);
    fresh.n = fresh.node->n = (uint16_t)(to - from);
    tree->count = emmap_list_weight(height, &fresh);
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
    if (rc != 0)
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
    if (rc != 0)
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
        if (rc != 0)
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
    if (rc != 0)
        return rc;
    rc = build(txn, slots, old.count, order, n, &new);
    if (rc != 0) {
        drop_tree(txn, new, 0);
    } else {
        rc = drop_tree(txn, old, 0);
        for (uint64_t i = 0; rc == 0 && i < old.count; i++)
            rc = emmap_slot_retire(txn, &slots[i]);
    }
    free(slots);
    if (rc != 0)
        return rc;
    *root = new.root;
    *count = new.count;
    return 0;
}
