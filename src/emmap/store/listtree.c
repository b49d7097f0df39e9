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
    *step = (struct emmap_list_step){.node = node, .count = count, .n = (uint16_t)n, .room = (uint16_t)n};
    return 0;
}

static uint64_t weight(unsigned height, const struct emmap_list_block *node, unsigned n)
{
    uint64_t sum = 0;
    if (height == 0)
        return n;
    for (unsigned i = 0; i < n; i++)
        sum += node->items[i].child.count;
    return sum;
}

uint64_t emmap_list_weight(const struct emmap_list_block *node)
{
    return weight(node->height, node, node->n);
}

int emmap_list_adds_up(struct emmap_store *store, unsigned height, const struct emmap_list_step *step)
{
    if (weight(height, step->node, step->n) != step->count)
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
        if (rc < 0)
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

struct emmap_list_block *emmap_list_new(struct emmap_txn *txn, unsigned height, unsigned room, uint64_t *at,
                                        int *rc)
{
    unsigned kind = height == 0 ? EMMAP_LIST_LEAF : EMMAP_LIST_NODE;
    uint64_t fresh = emmap_allocate(txn, kind, EMMAP_LIST_BYTES((room + 3) & ~3U), rc);
    if (fresh == 0)
        return NULL;
    /* SAFETY: our own block; as many items as it has room for, a multiple of 4. */
    struct emmap_list_block *node = emmap_at(txn->store, fresh);
    uint64_t capacity = (emmap_class_size(EMMAP_CLASS(node->header)) - 16) / 16 & ~(uint64_t)3;
    node->n = 0;
    node->height = (uint16_t)height;
    node->capacity = capacity < EMMAP_LIST_MOST ? (uint32_t)capacity : EMMAP_LIST_MOST;
    *at = fresh;
    return node;
}

/* May a node be changed where it is, and has it room for so many? */
static inline int is_fit(const struct emmap_txn *txn, const struct emmap_list_block *node, unsigned room)
{
    return emmap_is_ours(txn, node) && room <= node->capacity;
}

struct emmap_list_block *emmap_list_own(struct emmap_txn *txn, uint64_t *at, unsigned room, int *rc)
{
    struct emmap_list_block *old = emmap_at(txn->store, *at);
    uint64_t fresh;
    if (is_fit(txn, old, room))
        return old;
    struct emmap_list_block *node = emmap_list_new(txn, old->height, room > old->n ? room : old->n, &fresh, rc);
    if (node == NULL)
        return NULL;
    /* SAFETY: the new block has room for all that the old one has, whose `n` was checked. */
    node->n = old->n;
    memcpy(node->items, old->items, node->n * sizeof *node->items);
    *rc = emmap_retire(txn, *at);
    if (*rc < 0)
        return NULL;
    *at = fresh;
    return node;
}

int emmap_list_own_path(struct emmap_txn *txn, uint64_t *root, struct emmap_list_path *path, unsigned height,
                        uint64_t added)
{
    int rc = 0;
    uint64_t *at = root;
    for (unsigned h = path->height;; h--) {
        struct emmap_list_step *step = &path->steps[h];
        if (!is_fit(txn, step->node, step->room))
            step->node = emmap_list_own(txn, at, step->room, &rc);
        if (step->node == NULL)
            return rc;
        if (h == height)
            return 0;
        struct emmap_list_child *child = &step->node->items[step->i].child;
        child->count += added;
        at = &child->ref;
    }
}

int emmap_list_new_root(struct emmap_txn *txn, unsigned height, struct emmap_list_tree left,
                        struct emmap_list_tree right, uint64_t *root)
{
    int rc = 0;
    struct emmap_list_block *node = emmap_list_new(txn, height, 2, root, &rc);
    if (node == NULL)
        return rc;
    node->n = 2;
    node->items[0].child = (struct emmap_list_child){.ref = left.root, .count = left.count};
    node->items[1].child = (struct emmap_list_child){.ref = right.root, .count = right.count};
    return 0;
}

/* Items within blocks that are ours. SAFETY, for all of them: the plan has seen to the room. */

static union emmap_list_item *open_at(struct emmap_list_block *node, unsigned i)
{
    memmove(node->items + i + 1, node->items + i, (node->n - i) * sizeof *node->items);
    node->n++;
    return node->items + i;
}

static void close_at(struct emmap_list_block *node, unsigned i)
{
    node->n--;
    memmove(node->items + i, node->items + i + 1, (node->n - i) * sizeof *node->items);
}

void emmap_list_level(struct emmap_list_block *left, struct emmap_list_block *right, unsigned n)
{
    unsigned total = left->n + right->n, moved;
    if (n > left->n) {
        moved = n - left->n;
        memcpy(left->items + left->n, right->items, moved * sizeof *left->items);
        memmove(right->items, right->items + moved, (total - n) * sizeof *left->items);
    } else {
        moved = left->n - n;
        memmove(right->items + moved, right->items, right->n * sizeof *left->items);
        memcpy(right->items, left->items + n, moved * sizeof *left->items);
    }
    left->n = (uint16_t)n;
    right->n = (uint16_t)(total - n);
}

/* Says anew how many elements are below a child. */
static void recount(struct emmap_list_block *parent, unsigned i, const struct emmap_list_block *node)
{
    parent->items[i].child.count = emmap_list_weight(node);
}

/* Putting in. Who appends, or puts in before the first one again and again, leaves full nodes behind: the
 * new node gets as little as it may have, and what it is given too much goes back when it is full. */

static int look_beside(struct emmap_store *store, const struct emmap_list_path *path, unsigned height,
                       unsigned i, struct emmap_list_step *beside)
{
    struct emmap_list_child child = path->steps[height + 1].node->items[i].child;
    int rc = emmap_list_look(store, child.ref, child.count, height, 0, beside);
    return rc < 0 ? rc : emmap_list_adds_up(store, height, beside);
}

int emmap_list_plan_put(struct emmap_store *store, struct emmap_list_path *path, unsigned height, unsigned i)
{
    path->steps[height].i = (uint16_t)i;
    for (unsigned h = height; h <= path->height; h++) {
        struct emmap_list_step *step = &path->steps[h], *parent = step + 1, beside;
        int rc, is_root = h == path->height;
        if (step->n < EMMAP_LIST_MOST) {
            step->plan = EMMAP_LIST_TAKES;
            step->room++;
            /* Who appends twice in one transaction goes on. */
            if (!is_root && i == step->n && step->room > step->node->capacity)
                step->room = EMMAP_LIST_MOST;
            return 0;
        }
        rc = emmap_list_adds_up(store, h, step);
        if (rc < 0)
            return rc;
        if (!is_root && i == step->n && parent->i > 0) {
            rc = look_beside(store, path, h, parent->i - 1U, &beside);
            if (rc < 0)
                return rc;
            step->plan = beside.n < EMMAP_LIST_MOST ? EMMAP_LIST_LEFT : EMMAP_LIST_SPLITS;
        } else if (!is_root && i <= 1 && parent->i + 1U < parent->n) {
            rc = look_beside(store, path, h, parent->i + 1U, &beside);
            if (rc < 0)
                return rc;
            step->plan = beside.n < EMMAP_LIST_MOST ? EMMAP_LIST_RIGHT : EMMAP_LIST_SPLITS;
        } else {
            step->plan = EMMAP_LIST_SPLITS;
        }
        if (step->plan != EMMAP_LIST_SPLITS)
            return 0;
        if (is_root && h == EMMAP_LIST_HIGHEST)
            return emmap_wrong(store, emmap_list_offset(store, step->node), "a list is too high");
        i = parent->i + 1U;
    }
    return 0;
}

/* Makes room by filling a neighbour: where the item goes then. */
static int fill_beside(struct emmap_txn *txn, struct emmap_list_step *step, unsigned *i)
{
    struct emmap_list_block *node = step->node, *parent = step[1].node;
    int rc = 0, is_left = step->plan == EMMAP_LIST_LEFT;
    unsigned here = step[1].i, there = is_left ? here - 1 : here + 1;
    struct emmap_list_block *beside =
        emmap_list_own(txn, &parent->items[there].child.ref, EMMAP_LIST_MOST, &rc);
    if (beside == NULL)
        return rc;
    unsigned moved = EMMAP_LIST_MOST - beside->n;
    if (is_left) {
        emmap_list_level(beside, node, EMMAP_LIST_MOST);
        *i -= moved;
    } else {
        emmap_list_level(node, beside, node->n - moved);
    }
    recount(parent, there, beside);
    return 0;
}

/* Puts an item into a full node by making it two: a child for the parent. */
static union emmap_list_item *split(struct emmap_txn *txn, struct emmap_list_block *node, unsigned i,
                                    const union emmap_list_item *item, union emmap_list_item *child, int *rc)
{
    unsigned kept = i == node->n ? EMMAP_LIST_MOST + 1 - EMMAP_LIST_LEAST
                  : i <= 1       ? EMMAP_LIST_LEAST - 1
                                 : EMMAP_LIST_MOST / 2;
    struct emmap_list_block *right =
        emmap_list_new(txn, node->height, node->n - kept + (i > kept), &child->child.ref, rc);
    if (right == NULL)
        return NULL;
    emmap_list_level(node, right, kept);
    union emmap_list_item *place = i > kept ? open_at(right, i - kept) : open_at(node, i);
    if (item != NULL)
        *place = *item;
    child->child.count = emmap_list_weight(right);
    return place;
}

union emmap_list_item *emmap_list_put(struct emmap_txn *txn, uint64_t *root, struct emmap_list_path *path,
                                      unsigned height, const union emmap_list_item *item, int *rc)
{
    union emmap_list_item *first = NULL, *place, next, above;
    unsigned i = path->steps[height].i;
    for (unsigned h = height;; h++) {
        struct emmap_list_step *step = &path->steps[h];
        struct emmap_list_block *node = step->node;
        if (step->plan == EMMAP_LIST_SPLITS) {
            place = split(txn, node, i, item, &above, rc);
            if (place == NULL)
                return NULL;
        } else {
            if (step->plan != EMMAP_LIST_TAKES && (*rc = fill_beside(txn, step, &i)) < 0)
                return NULL;
            place = open_at(node, i);
            if (item != NULL)
                *place = *item;
        }
        first = h == height ? place : first;
        if (h < path->height && step->plan != EMMAP_LIST_TAKES)
            recount(step[1].node, step[1].i, node);
        if (step->plan != EMMAP_LIST_SPLITS)
            return first;
        if (h == path->height) {
            struct emmap_list_tree left = {*root, emmap_list_weight(node)};
            struct emmap_list_tree right = {above.child.ref, above.child.count};
            *rc = emmap_list_new_root(txn, h + 1, left, right, root);
            return *rc < 0 ? NULL : first;
        }
        next = above;
        item = &next;
        i = step[1].i + 1U;
    }
}

int emmap_list_open(struct emmap_txn *txn, struct emmap_list_tree *tree, uint64_t index,
                    struct emmap_slot **slot)
{
    struct emmap_list_path path;
    struct emmap_list_tree now = *tree;
    union emmap_list_item *place;
    int rc;
    if (now.root != 0) {
        rc = emmap_list_descend(txn->store, now, index, &path);
        if (rc == 0)
            rc = emmap_list_plan_put(txn->store, &path, 0, path.steps[0].i);
        if (rc < 0)
            return rc;
    }
    rc = emmap_prepare(txn, EMMAP_OPERATION);
    if (rc < 0)
        return rc;
    if (now.root == 0) {
        struct emmap_list_block *leaf = emmap_list_new(txn, 0, 1, &now.root, &rc);
        if (leaf == NULL)
            return rc;
        place = open_at(leaf, 0);
    } else {
        rc = emmap_list_own_path(txn, &now.root, &path, 0, 1);
        if (rc < 0)
            return rc;
        place = emmap_list_put(txn, &now.root, &path, 0, NULL, &rc);
        if (place == NULL)
            return rc;
    }
    now.count++;
    *tree = now;
    *slot = &place->slot;
    return 0;
}

/* Taking out */

/* The neighbour that an emptied node shares with: the right one, but for the last. */
static unsigned beside_of(const struct emmap_list_step *parent)
{
    return parent->i + 1U < parent->n ? parent->i + 1U : parent->i - 1U;
}

/* Fewer than this in two neighbours make one node, which has then some room. */
#define MERGED (EMMAP_LIST_MOST * 3 / 4)

int emmap_list_plan_take(struct emmap_store *store, struct emmap_list_path *path)
{
    for (unsigned h = 0; h <= path->height; h++) {
        struct emmap_list_step *step = &path->steps[h], beside;
        unsigned n = step->n - 1U, total;
        step->plan = EMMAP_LIST_SHRINKS;
        if (h == path->height || n >= EMMAP_LIST_LEAST)
            return 0;
        int rc = emmap_list_adds_up(store, h, step);
        if (rc == 0)
            rc = look_beside(store, path, h, beside_of(step + 1), &beside);
        if (rc < 0)
            return rc;
        total = n + beside.n;
        if (total > MERGED) {
            step->plan = EMMAP_LIST_EVENS;
            return 0;
        }
        step->plan = EMMAP_LIST_MERGES;
    }
    return 0;
}

/* Shares with the neighbour what is left in a node, or makes them one: which child the parent loses then. */
static int share(struct emmap_txn *txn, const struct emmap_list_step *step, unsigned *lost)
{
    const struct emmap_list_step *above = step + 1;
    struct emmap_list_block *parent = above->node;
    unsigned there = beside_of(above), first = there < above->i ? there : above->i;
    struct emmap_list_child *pair = &parent->items[first].child;
    const struct emmap_list_block *beside = emmap_at(txn->store, parent->items[there].child.ref);
    unsigned total = step->node->n + beside->n;
    unsigned room = step->plan == EMMAP_LIST_MERGES ? total : (total + 1) / 2;
    int rc = 0;
    struct emmap_list_block *left = emmap_list_own(txn, &pair->ref, room, &rc);
    if (left == NULL)
        return rc;
    if (step->plan == EMMAP_LIST_MERGES) {
        /* SAFETY: the left one has room for both; the right one is only read, and given up. */
        uint64_t gone = parent->items[first + 1].child.ref;
        const struct emmap_list_block *right = emmap_at(txn->store, gone);
        memcpy(left->items + left->n, right->items, right->n * sizeof *left->items);
        left->n = (uint16_t)total;
        recount(parent, first, left);
        *lost = first + 1;
        return emmap_retire(txn, gone);
    }
    struct emmap_list_block *right = emmap_list_own(txn, &parent->items[first + 1].child.ref, room, &rc);
    if (right == NULL)
        return rc;
    emmap_list_level(left, right, room);
    recount(parent, first, left);
    recount(parent, first + 1, right);
    return 0;
}

int emmap_list_take(struct emmap_txn *txn, uint64_t *root, struct emmap_list_path *path)
{
    unsigned i = path->steps[0].i;
    for (unsigned h = 0;; h++) {
        struct emmap_list_step *step = &path->steps[h];
        close_at(step->node, i);
        if (step->plan != EMMAP_LIST_SHRINKS) {
            int rc = share(txn, step, &i);
            if (rc < 0 || step->plan == EMMAP_LIST_EVENS)
                return rc;
            continue;
        }
        if (h == path->height && step->node->n <= (h > 0)) {
            uint64_t gone = *root;
            *root = h > 0 ? step->node->items[0].child.ref : 0;
            return emmap_retire(txn, gone);
        }
        return 0;
    }
}
