#include "listtree.h"

/* Looking */

int emmap_list_look(struct emmap_store *store, uint64_t at, uint64_t count, unsigned height, int is_root,
                    struct emmap_list_step *step)
{
    unsigned kind = height == 0 ? EMMAP_LIST_LEAF : EMMAP_LIST_NODE;
    struct emmap_list_block *node = emmap_block_at(store, at, kind, EMMAP_LIST_BYTES(1));
    if (node == NULL)
        return emmap_wrong_rc(store);
    unsigned n = node->n, least = !is_root ? EMMAP_LIST_LEAST : height == 0 ? 1 : 2;
    uint32_t capacity = node->capacity;
    if (node->height != height)
        return emmap_wrong(store, at, "a list's node has another height");
    /* SAFETY: `n` items lie in the block, which lies in the file. */
    if (capacity > EMMAP_LIST_MOST || n > capacity || !emmap_has(store, at, EMMAP_LIST_BYTES(capacity)) ||
        EMMAP_LIST_BYTES(capacity) > emmap_class_size(EMMAP_CLASS(node->header)))
        return emmap_wrong(store, at, "a list's node has more than fits in");
    if (n < least)
        return emmap_wrong(store, at, "a list's node has too little");
    if (height == 0 && n != count)
        return emmap_wrong(store, at, "a list's leaf is not as long as its parent says");
    *step = (struct emmap_list_step){
        .node = node, .count = count, .n = (uint16_t)n, .capacity = (uint16_t)capacity};
    return 0;
}

uint64_t emmap_list_weight(unsigned height, const struct emmap_list_step *step)
{
    uint64_t sum = 0;
    if (height == 0)
        return step->n;
    for (unsigned i = 0; i < step->n; i++)
        sum += step->node->items[i].child.count;
    return sum;
}

int emmap_list_adds_up(struct emmap_store *store, unsigned height, const struct emmap_list_step *step)
{
    if (emmap_list_weight(height, step) != step->count)
        return emmap_wrong(store, emmap_list_offset(store, step->node), "a list's counts do not add up");
    return 0;
}

/* Which child holds the element, and which of its elements it is: from the nearer end. */
static int choose(struct emmap_list_step *step, uint64_t *index, struct emmap_list_child *child)
{
    const union emmap_list_item *items = step->node->items;
    if (*index < step->count / 2) {
        for (unsigned i = 0; i < step->n; i++) {
            *child = items[i].child;
            if (*index < child->count) {
                step->i = (uint16_t)i;
                return 0;
            }
            *index -= child->count;
        }
        return -EUCLEAN;
    }
    uint64_t left = step->count - *index;
    for (unsigned i = step->n; i-- > 0;) {
        *child = items[i].child;
        if (left <= child->count) {
            step->i = (uint16_t)i;
            *index = child->count - left;
            return 0;
        }
        left -= child->count;
    }
    return -EUCLEAN;
}

int emmap_list_descend(struct emmap_store *store, struct emmap_list_tree tree, uint64_t index,
                       struct emmap_list_path *path)
{
    struct emmap_list_child child = {.ref = tree.root, .count = tree.count};
    const struct emmap_list_block *root = emmap_bytes_at(store, tree.root, EMMAP_LIST_BYTES(1));
    if (root == NULL)
        return emmap_wrong(store, tree.root, "a list's root lies nowhere");
    unsigned height = EMMAP_KIND(root->header) == EMMAP_LIST_LEAF ? 0 : root->height;
    if (height > EMMAP_LIST_HIGHEST)
        return emmap_wrong(store, tree.root, "a list is too high");
    if (index > tree.count || !emmap_list_fits(store, tree.count))
        return emmap_wrong(store, tree.root, "a list has more elements than the file has room for");
    path->height = height;
    for (unsigned h = height;; h--) {
        struct emmap_list_step *step = &path->steps[h];
        int rc = emmap_list_look(store, child.ref, child.count, h, h == height, step);
        if (rc != 0)
            return rc;
        if (h == 0) {
            step->i = (uint16_t)index;
            return 0;
        }
        if (choose(step, &index, &child) < 0)
            return emmap_wrong(store, emmap_list_offset(store, step->node),
                               "a list's counts do not add up");
    }
}

/* Blocks */

int emmap_list_new(struct emmap_txn *txn, unsigned height, unsigned room, uint64_t *at,
                   struct emmap_list_step *step)
{
    int rc;
    unsigned kind = height == 0 ? EMMAP_LIST_LEAF : EMMAP_LIST_NODE;
    uint64_t fresh = emmap_allocate(txn, kind, EMMAP_LIST_BYTES((room + 3) & ~3U), &rc);
    if (rc != 0)
        return rc;
    /* SAFETY: our own block; as many items as it has room for, a multiple of 4. */
    struct emmap_list_block *node = emmap_at(txn->store, fresh);
    uint64_t capacity = (emmap_class_size(EMMAP_CLASS(node->header)) - 16) / 16 & ~(uint64_t)3;
    if (capacity > EMMAP_LIST_MOST)
        capacity = EMMAP_LIST_MOST;
    node->n = 0;
    node->height = (uint16_t)height;
    node->capacity = (uint32_t)capacity;
    *step = (struct emmap_list_step){.node = node, .capacity = (uint16_t)capacity};
    *at = fresh;
    return 0;
}

int emmap_list_own(struct emmap_txn *txn, unsigned height, struct emmap_list_step *step, unsigned room,
                   uint64_t *at)
{
    struct emmap_list_step fresh, *old = step;
    if (emmap_is_ours(txn, step->node) && room <= step->capacity)
        return 0;
    uint64_t old_at = emmap_list_offset(txn->store, step->node);
    int rc = emmap_list_new(txn, height, room > old->n ? room : old->n, at, &fresh);
    if (rc != 0)
        return rc;
    /* SAFETY: the old block was looked at and has `n` items; the new one has room for them. In a damaged file
     * they may overlap. */
    memmove(fresh.node->items, old->node->items, old->n * sizeof *old->node->items);
    fresh.node->n = old->n;
    step->node = fresh.node;
    step->capacity = fresh.capacity;
    return emmap_retire(txn, old_at);
}

int emmap_list_own_path(struct emmap_txn *txn, uint64_t *root, struct emmap_list_path *path, unsigned height,
                        unsigned room, uint64_t added)
{
    uint64_t *at = root;
    for (unsigned h = path->height;; h--) {
        struct emmap_list_step *step = &path->steps[h];
        unsigned need = step->n + (step->plan == EMMAP_LIST_TAKES);
        int rc = emmap_list_own(txn, h, step, h == height && room > need ? room : need, at);
        if (rc != 0 || h == height)
            return rc;
        struct emmap_list_child *child = &step->node->items[step->i].child;
        child->count += added;
        at = &child->ref;
    }
}

int emmap_list_new_root(struct emmap_txn *txn, unsigned height, struct emmap_list_tree left,
                        struct emmap_list_tree right, uint64_t *root)
{
    struct emmap_list_step step;
    int rc = emmap_list_new(txn, height, 2, root, &step);
    if (rc != 0)
        return rc;
    step.node->n = 2;
    step.node->items[0].child = (struct emmap_list_child){.ref = left.root, .count = left.count};
    step.node->items[1].child = (struct emmap_list_child){.ref = right.root, .count = right.count};
    return 0;
}

/* Items. SAFETY, for all of them: the blocks are ours, and the plan has seen to the room. */

static void have(struct emmap_list_step *step, unsigned n)
{
    step->n = (uint16_t)n;
    step->node->n = (uint16_t)n;
}

static union emmap_list_item *open_at(struct emmap_list_step *step, unsigned i,
                                      const union emmap_list_item *item)
{
    union emmap_list_item *place = step->node->items + i;
    memmove(place + 1, place, (step->n - i) * sizeof *place);
    have(step, step->n + 1U);
    if (item != NULL)
        *place = *item;
    return place;
}

static void close_at(struct emmap_list_step *step, unsigned i)
{
    union emmap_list_item *place = step->node->items + i;
    have(step, step->n - 1U);
    memmove(place, place + 1, (step->n - i) * sizeof *place);
}

void emmap_list_level(struct emmap_list_step *left, struct emmap_list_step *right, unsigned n)
{
    union emmap_list_item *here = left->node->items, *there = right->node->items;
    unsigned total = left->n + right->n;
    if (n > left->n) {
        unsigned moved = n - left->n;
        memmove(here + left->n, there, moved * sizeof *here);
        memmove(there, there + moved, (total - n) * sizeof *here);
    } else {
        unsigned moved = left->n - n;
        memmove(there + moved, there, right->n * sizeof *here);
        memmove(there, here + n, moved * sizeof *here);
    }
    have(left, n);
    have(right, total - n);
}

void emmap_list_add(struct emmap_list_step *step, const struct emmap_list_step *other, int behind)
{
    union emmap_list_item *items = step->node->items;
    if (!behind)
        memmove(items + other->n, items, step->n * sizeof *items);
    memmove(items + (behind ? step->n : 0), other->node->items, other->n * sizeof *items);
    have(step, step->n + other->n);
}

/* Says anew how many elements are below a child. */
static void recount(const struct emmap_list_step *parent, unsigned i, unsigned height,
                    const struct emmap_list_step *step)
{
    parent->node->items[i].child.count = emmap_list_weight(height, step);
}

/* Putting in. Who appends, or puts in before the first one again and again, leaves full nodes behind: the
 * new node gets as little as it may have, and what it is given too much goes back when it is full. */

static int look_beside(struct emmap_store *store, struct emmap_list_path *path, unsigned height, unsigned i)
{
    struct emmap_list_step *beside = &path->beside[height];
    struct emmap_list_child child = path->steps[height + 1].node->items[i].child;
    int rc = emmap_list_look(store, child.ref, child.count, height, 0, beside);
    beside->i = (uint16_t)i;
    return rc != 0 ? rc : emmap_list_adds_up(store, height, beside);
}

/* Who makes room in a full node: a neighbour, where the item goes to an end, or a new node. */
static int plan_full(struct emmap_store *store, struct emmap_list_path *path, unsigned height, unsigned i)
{
    struct emmap_list_step *step = &path->steps[height];
    const struct emmap_list_step *parent = height < path->height ? step + 1 : NULL;
    int rc = emmap_list_adds_up(store, height, step);
    step->plan = EMMAP_LIST_SPLITS;
    if (rc != 0 || parent == NULL)
        return rc;
    if (i == step->n && parent->i > 0) {
        rc = look_beside(store, path, height, parent->i - 1U);
        if (rc == 0 && path->beside[height].n < EMMAP_LIST_MOST)
            step->plan = EMMAP_LIST_LEFT;
    } else if (i <= 1 && parent->i + 1U < parent->n) {
        rc = look_beside(store, path, height, parent->i + 1U);
        if (rc == 0 && path->beside[height].n < EMMAP_LIST_MOST)
            step->plan = EMMAP_LIST_RIGHT;
    }
    return rc;
}

int emmap_list_plan_put(struct emmap_store *store, struct emmap_list_path *path, unsigned height, unsigned i)
{
    path->steps[height].i = (uint16_t)i;
    for (unsigned h = height; h <= path->height; h++) {
        struct emmap_list_step *step = &path->steps[h];
        if (step->n < EMMAP_LIST_MOST) {
            step->plan = EMMAP_LIST_TAKES;
            return 0;
        }
        int rc = plan_full(store, path, h, i);
        if (rc != 0 || step->plan != EMMAP_LIST_SPLITS)
            return rc;
        if (h == EMMAP_LIST_HIGHEST)
            return emmap_wrong(store, emmap_list_offset(store, step->node), "a list is too high");
        i = step[1].i + 1U;
    }
    return 0;
}

/* Makes room by filling a neighbour: where the item goes then. */
static int fill_beside(struct emmap_txn *txn, struct emmap_list_path *path, unsigned height, unsigned *i)
{
    struct emmap_list_step *step = &path->steps[height], *beside = &path->beside[height];
    struct emmap_list_child *child = &step[1].node->items[beside->i].child;
    int rc = emmap_list_own(txn, height, beside, EMMAP_LIST_MOST, &child->ref);
    if (rc != 0)
        return rc;
    unsigned moved = EMMAP_LIST_MOST - beside->n;
    if (step->plan == EMMAP_LIST_LEFT) {
        emmap_list_level(beside, step, EMMAP_LIST_MOST);
        *i -= moved;
    } else {
        emmap_list_level(step, beside, step->n - moved);
    }
    recount(step + 1, beside->i, height, beside);
    return 0;
}

/* Puts an item into a full node by making it two: a child for the parent. */
static union emmap_list_item *split(struct emmap_txn *txn, unsigned height, struct emmap_list_step *step,
                                    unsigned i, const union emmap_list_item *item,
                                    union emmap_list_item *child, int *rc)
{
    struct emmap_list_step right;
    unsigned kept = i == step->n ? EMMAP_LIST_MOST + 1 - EMMAP_LIST_LEAST
                  : i <= 1       ? EMMAP_LIST_LEAST - 1
                                 : EMMAP_LIST_MOST / 2;
    *rc = emmap_list_new(txn, height, step->n - kept + (i > kept), &child->child.ref, &right);
    if (*rc != 0)
        return NULL;
    emmap_list_level(step, &right, kept);
    union emmap_list_item *place = i > kept ? open_at(&right, i - kept, item) : open_at(step, i, item);
    child->child.count = emmap_list_weight(height, &right);
    return place;
}

union emmap_list_item *emmap_list_put(struct emmap_txn *txn, uint64_t *root, struct emmap_list_path *path,
                                      unsigned height, const union emmap_list_item *item, int *rc)
{
    union emmap_list_item *first = NULL, *place, next, above;
    unsigned i = path->steps[height].i;
    for (unsigned h = height;; h++) {
        struct emmap_list_step *step = &path->steps[h];
        int splits = step->plan == EMMAP_LIST_SPLITS;
        if (splits) {
            place = split(txn, h, step, i, item, &above, rc);
            if (place == NULL)
                return NULL;
        } else {
            if (step->plan != EMMAP_LIST_TAKES && (*rc = fill_beside(txn, path, h, &i)) != 0)
                return NULL;
            place = open_at(step, i, item);
        }
        first = h == height ? place : first;
        if (h < path->height && step->plan != EMMAP_LIST_TAKES)
            recount(step + 1, step[1].i, h, step);
        if (!splits)
            return first;
        if (h == path->height) {
            struct emmap_list_tree left = {*root, emmap_list_weight(h, step)};
            struct emmap_list_tree right = {above.child.ref, above.child.count};
            *rc = emmap_list_new_root(txn, h + 1, left, right, root);
            return *rc != 0 ? NULL : first;
        }
        next = above;
        item = &next;
        i = step[1].i + 1U;
    }
}

/* Puts a slot into a tree that is not empty. */
static int open_in(struct emmap_txn *txn, struct emmap_list_tree *tree, struct emmap_list_path *path,
                   struct emmap_slot **slot)
{
    const struct emmap_list_step *leaf = &path->steps[0];
    /* Who appends a second time in one transaction goes on. */
    int goes_on = leaf->i == leaf->n && path->height > 0 && emmap_is_ours(txn, leaf->node) &&
                  leaf->n == leaf->capacity;
    int rc = emmap_list_own_path(txn, &tree->root, path, 0, goes_on ? EMMAP_LIST_MOST : 0, 1);
    if (rc != 0)
        return rc;
    union emmap_list_item *place = emmap_list_put(txn, &tree->root, path, 0, NULL, &rc);
    if (place == NULL)
        return rc;
    *slot = &place->slot;
    return 0;
}

int emmap_list_open(struct emmap_txn *txn, struct emmap_list_tree *tree, uint64_t index,
                    struct emmap_slot **slot)
{
    struct emmap_list_path path;
    struct emmap_list_tree now = *tree;
    struct emmap_list_step leaf;
    int rc = 0;
    if (now.root != 0) {
        rc = emmap_list_descend(txn->store, now, index, &path);
        if (rc == 0)
            rc = emmap_list_plan_put(txn->store, &path, 0, path.steps[0].i);
    }
    if (rc == 0)
        rc = emmap_prepare(txn, EMMAP_OPERATION);
    if (rc != 0)
        return rc;
    if (now.root != 0)
        rc = open_in(txn, &now, &path, slot);
    else if ((rc = emmap_list_new(txn, 0, 1, &now.root, &leaf)) == 0)
        *slot = &open_at(&leaf, 0, NULL)->slot;
    if (rc != 0)
        return rc;
    now.count++;
    *tree = now;
    return 0;
}

/* Taking out */

/* The neighbour that an emptied node shares with: the right one, but for the last. */
static unsigned beside_of(const struct emmap_list_step *parent)
{
    return parent->i + 1U < parent->n ? parent->i + 1U : parent->i - 1U;
}

/* So many in two neighbours make one node, which has then some room. */
#define MERGED (EMMAP_LIST_MOST * 3 / 4)

int emmap_list_plan_take(struct emmap_store *store, struct emmap_list_path *path)
{
    for (unsigned h = 0; h <= path->height; h++) {
        struct emmap_list_step *step = &path->steps[h];
        unsigned n = step->n - 1U;
        step->plan = EMMAP_LIST_SHRINKS;
        if (h == path->height || n >= EMMAP_LIST_LEAST)
            return 0;
        int rc = emmap_list_adds_up(store, h, step);
        if (rc == 0)
            rc = look_beside(store, path, h, beside_of(step + 1));
        if (rc != 0)
            return rc;
        step->plan = n + path->beside[h].n > MERGED ? EMMAP_LIST_EVENS : EMMAP_LIST_MERGES;
        if (step->plan == EMMAP_LIST_EVENS)
            return 0;
    }
    return 0;
}

/* Shares with the neighbour what is left in a node, or makes them one: which child the parent loses then. */
static int share(struct emmap_txn *txn, struct emmap_list_path *path, unsigned height, unsigned *lost)
{
    struct emmap_list_step *step = &path->steps[height], *beside = &path->beside[height];
    const struct emmap_list_step *parent = step + 1;
    int is_last = beside->i < parent->i;
    struct emmap_list_step *left = is_last ? beside : step, *right = is_last ? step : beside;
    unsigned first = is_last ? beside->i : parent->i, total = left->n + right->n;
    struct emmap_list_child *pair = &parent->node->items[first].child;
    unsigned room = step->plan == EMMAP_LIST_MERGES ? total : (total + 1) / 2;
    int rc = emmap_list_own(txn, height, left, room, &pair[0].ref);
    if (rc != 0)
        return rc;
    if (step->plan == EMMAP_LIST_MERGES) {
        emmap_list_add(left, right, 1);
        recount(parent, first, height, left);
        *lost = first + 1;
        return emmap_retire(txn, emmap_list_offset(txn->store, right->node));
    }
    rc = emmap_list_own(txn, height, right, room, &pair[1].ref);
    if (rc != 0)
        return rc;
    emmap_list_level(left, right, room);
    recount(parent, first, height, left);
    recount(parent, first + 1, height, right);
    return 0;
}

int emmap_list_take(struct emmap_txn *txn, uint64_t *root, struct emmap_list_path *path)
{
    unsigned i = path->steps[0].i;
    for (unsigned h = 0;; h++) {
        struct emmap_list_step *step = &path->steps[h];
        close_at(step, i);
        if (step->plan != EMMAP_LIST_SHRINKS) {
            int rc = share(txn, path, h, &i);
            if (rc != 0 || step->plan == EMMAP_LIST_EVENS)
                return rc;
        } else if (h == path->height && step->n <= (h > 0)) {
            *root = h > 0 ? step->node->items[0].child.ref : 0;
            return emmap_retire(txn, emmap_list_offset(txn->store, step->node));
        } else {
            return 0;
        }
    }
}
