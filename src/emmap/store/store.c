/* What the file is known to hold, and what is wrong with it. */
#include "store.h"

int emmap_wrong_rc(struct emmap_store *store)
{
    return emmap_lost_any(store->lost) ? -EIO : -EUCLEAN;
}

int emmap_wrong(struct emmap_store *store, uint64_t at, const char *what)
{
    atomic_store_explicit(&store->wrong_at, at, memory_order_relaxed);
    atomic_store_explicit(&store->wrong, what, memory_order_relaxed);
    return emmap_wrong_rc(store);
}

/* What a block of this kind is called, where another one or none was found. */
static const char *no_block(unsigned kind)
{
    switch (kind) {
    case EMMAP_ROOT:
        return "no root record lies here, but something refers to it as one";
    case EMMAP_NODE:
    case EMMAP_LEAF:
        return "no part of a dict lies here, but something refers to it as one";
    case EMMAP_ENTRY:
        return "no key and value lie here, but something refers to them";
    case EMMAP_VALUE:
        return "no value lies here, but something refers to it";
    case EMMAP_LIST_NODE:
    case EMMAP_LIST_LEAF:
        return "no part of a list lies here, but something refers to it as one";
    case EMMAP_CHUNK:
        return "no queue of free blocks lies here, but something refers to it as one";
    case EMMAP_NAMED_PLACE:
        return "no lock lies here, but its name refers to it";
    default:
        return "no block of the store lies here, but something refers to it as one";
    }
}

void *emmap_no_block(struct emmap_store *store, uint64_t at, unsigned kind)
{
    emmap_wrong(store, at, no_block(kind));
    return NULL;
}

int emmap_store_look(struct emmap_store *store)
{
    uint64_t size;
    int rc = store->kernel->size(store->fd, &size);
    if (rc != 0)
        return rc;
    if (size > store->room)
        size = store->room;
    atomic_store_explicit(&store->size, size, memory_order_relaxed);
    return 0;
}

int emmap_has_now(struct emmap_store *store, uint64_t at, uint64_t n)
{
    /* Asked of the kernel only when another process says that it has made the file longer. */
    uint64_t known = atomic_load_explicit(&store->size, memory_order_relaxed);
    uint64_t told = atomic_load_explicit(&emmap_live(store)->size, memory_order_acquire);
    if (told <= known || n > told || at > told - n || emmap_store_look(store) != 0)
        return 0;
    known = atomic_load_explicit(&store->size, memory_order_relaxed);
    return n <= known && at <= known - n;
}

/* SipHash-1-3 */

static inline uint64_t rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

struct sip {
    uint64_t a, b, c, d;
};

static inline void sip_round(struct sip *v)
{
    v->a += v->b;
    v->c += v->d;
    v->b = rotate(v->b, 13) ^ v->a;
    v->d = rotate(v->d, 16) ^ v->c;
    v->a = rotate(v->a, 32);
    v->c += v->b;
    v->a += v->d;
    v->b = rotate(v->b, 17) ^ v->c;
    v->d = rotate(v->d, 21) ^ v->a;
    v->c = rotate(v->c, 32);
}

static inline void sip_word(struct sip *v, uint64_t word)
{
    v->d ^= word;
    sip_round(v);
    v->a ^= word;
}

uint64_t emmap_hash(const uint64_t key[2], const void *bytes, size_t n, uint64_t tweak)
{
    const unsigned char *at = bytes;
    struct sip v = {
        key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
        key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573) ^ tweak,
    };
    uint64_t word;
    /* SAFETY: the caller has `n` bytes there. */
    for (size_t left = n; left >= 8; left -= 8, at += 8) {
        memcpy(&word, at, 8);
        sip_word(&v, word);
    }
    word = 0;
    memcpy(&word, at, n & 7);
    sip_word(&v, word | (uint64_t)n << 56);
    v.c ^= 0xFF;
    sip_round(&v);
    sip_round(&v);
    sip_round(&v);
    return v.a ^ v.b ^ v.c ^ v.d;
}
