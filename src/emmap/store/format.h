/* The bytes of a store's file. Numbers are in the byte order of the machine that made it, and another one
 * refuses it; offsets count from the file's start, are multiples of 16, and 0 is null.
 *
 *         0  +---------------------------------------------------+
 *            | header    what this is; never changes but for     |
 *            |           `home`, where it was last opened        |
 *      4096  | meta 0    the durable root: the last two flushes, |
 *      8192  | meta 1    written by pwrite, one after the other  |
 *    64 KiB  +---------------------------------------------------+
 *            | live      the live root, the epoch, the writer's  |
 *            |           lock, what is being flushed             |
 *            | space 0   what is free, after the last            |
 *            | space 1   transaction and after the one before    |
 *   128 KiB  +---------------------------------------------------+
 *            | pins      what readers look at: 2,048 of 64 bytes |
 *   256 KiB  +---------------------------------------------------+
 *            | blocks    ... up to the frontier                  |
 *            +---------------------------------------------------+
 *
 * A flush write-protects the pages it writes, so what is stored to often (pins, the live words) shares no
 * page with what is not; pages have up to 64 KiB.
 *
 * A block begins with its header word: the transaction that it was born in (48 bits), its kind, its class.
 * Nothing that a root can reach is ever changed, but for the bytes of named locks.
 */
#ifndef EMMAP_FORMAT_H
#define EMMAP_FORMAT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define EMMAP_STORE_MAGIC UINT64_C(0x0A1A50414D4D450A) /* "\nEMMAP\x1a\n" */
#define EMMAP_STORE_VERSION 1
#define EMMAP_BYTE_ORDER UINT32_C(0x01020304)

#define EMMAP_META_AT(i) (4096 + 4096 * (size_t)(i))
#define EMMAP_LIVE_AT ((size_t)64 << 10)
#define EMMAP_SPACE_AT(i) (EMMAP_LIVE_AT + 4096 + 8192 * (size_t)(i))
#define EMMAP_PINS_AT ((size_t)128 << 10)
#define EMMAP_PINS 2048
#define EMMAP_BLOCKS_AT ((size_t)256 << 10)

/* A file is that long at least, and grows by multiples of this. */
#define EMMAP_LEAST_GROWTH ((size_t)64 << 10)

#define EMMAP_MOST_TXN ((UINT64_C(1) << 48) - 1)

/* No transaction begins behind this one: savepoints take numbers, too. */
#define EMMAP_LAST_TXN (EMMAP_MOST_TXN - (1 << 20))

/* Where a file was last opened: in another place nobody who holds anything in it can be alive, and what
 * lies in memory there was lost. */
struct emmap_home {
    unsigned char boot[16];     /* of the kernel: /proc/sys/kernel/random/boot_id */
    uint64_t device, inode;
};

struct emmap_store_header {
    uint64_t magic;
    uint32_t version, byte_order;
    uint64_t hash_key[2];       /* of SipHash, random */
    uint64_t check;             /* SipHash of the bytes above, with a key of zeros */
    struct emmap_home home;
};

/* What survives a power loss: a root, and what the file has to have for it. */
struct emmap_meta {
    uint64_t magic;
    uint64_t txn;
    uint64_t root;              /* of the root record */
    uint64_t size;              /* of the file, in bytes */
    uint64_t frontier;          /* blocks of this root lie before it */
    unsigned char boot[16];     /* in which it was flushed */
    uint64_t reserved[7];
    uint64_t check;             /* SipHash of all above, with the file's key */
};

/* The words that all processes look at. Each in a line of its own that is stored to often. */
struct emmap_live {
    _Alignas(64) _Atomic(uint64_t) root;    /* offset of the live root record */
    _Atomic(uint64_t) epoch;                /* its transaction, stored after it */
    _Alignas(64) unsigned char lock[64];    /* the writer's: tag and word */
    _Alignas(64) unsigned char flush_lock[64]; /* one flushes at a time */
    _Alignas(64) _Atomic(uint64_t) size;    /* bytes of the file with space on the disk */
    _Atomic(uint64_t) pins;                 /* so many pins were ever in use at once */
    _Atomic(uint64_t) copies;               /* how often a pin was copied */
    _Atomic(uint64_t) flushed;              /* transaction of the last completed flush */
    _Atomic(uint64_t) flushing;             /* of the flush under way, or of one cut short; 0: none */
    _Atomic(uint64_t) flushes;              /* completed, ever */
    _Atomic(uint64_t) poisoned;             /* a flush has failed: nothing is written any more */
    _Atomic(uint64_t) recovering;           /* somebody looks whether others use the file, or rebuilds it */
};

/* What a reader looks at. `word`: 0 nothing, a transaction, or EMMAP_TENTATIVE | epoch. */
#define EMMAP_TENTATIVE (UINT64_C(1) << 63)
struct emmap_pin {
    _Alignas(64) _Atomic(uint64_t) owner;   /* as in lock words: id << 4; 0: nobody's */
    _Atomic(uint64_t) word;
    _Atomic(uint64_t) pid;                  /* as the owner sees himself, and when (nanoseconds of CLOCK_REALTIME)    */
    _Atomic(uint64_t) since;                /* he pinned what he keeps for long; 0: he does not. For statistics only. */
};

/* Sizes of blocks: 16 classes of multiples of 16, then 8 for each doubling, up to 64 GiB. */
#define EMMAP_CLASSES 240

/* Blocks that were replaced, in the order in which they were, one such queue for each class. An entry is
 * never overwritten that the space of the transaction before can see: appending goes on behind its tail,
 * and a chunk that has been emptied goes the way of all blocks. */
struct emmap_fifo {
    uint64_t head, tail;        /* chunks; both 0: there are none */
    uint32_t count;
    uint16_t head_i, tail_i;    /* entries in them */
};

#define EMMAP_CHUNK_ENTRIES 63
#define EMMAP_RETIRED(class, txn) ((uint64_t)(class) << 48 | (txn))
#define EMMAP_RETIRED_CLASS(when) ((unsigned)((when) >> 48) & 255)
#define EMMAP_RETIRED_CHUNK (UINT64_C(1) << 56) /* no root reaches it: it is free from the next transaction on */
#define EMMAP_RETIRED_TXN(when) ((when) & EMMAP_MOST_TXN)
struct emmap_chunk {
    uint64_t header;
    uint64_t next;              /* only of a chunk that is not the tail */
    struct emmap_retired {
        uint64_t block;
        uint64_t when;          /* EMMAP_RETIRED: its class, and the transaction in which it was replaced. (What
                                   its header says may be of a transaction that was begun and is forgotten.) */
    } entries[EMMAP_CHUNK_ENTRIES];
};

/* What is free after a transaction. The one whose `txn` is the live root's is true; the next transaction
 * fills the other one, which counts as soon as the live root says so. */
struct emmap_space {
    _Atomic(uint64_t) txn;      /* 0 while it is being filled */
    uint64_t base;              /* the transaction that this one followed */
    uint64_t frontier;          /* nothing was ever handed out from here on */
    uint64_t retired;           /* bytes of blocks in the queues */
    uint64_t in_held;           /* of these, bytes of those in `held` */
    uint64_t changed[4];        /* bit c: queue c is another than in `base`'s space */
    uint64_t filled[4];         /* bit c: queue c is not empty */
    struct emmap_fifo held;     /* blocks of all classes that an old pin or the last flush reaches */
    struct emmap_fifo fifos[EMMAP_CLASSES];
};

/* Blocks */

enum emmap_kind_of_block {
    EMMAP_FREE_BLOCK = 0x10,    /* was never anything: cut from a larger one, or found by recovery */
    EMMAP_ROOT,
    EMMAP_NODE,
    EMMAP_LEAF,
    EMMAP_ENTRY,
    EMMAP_VALUE,
    EMMAP_LIST_NODE,
    EMMAP_LIST_LEAF,
    EMMAP_CHUNK,
    EMMAP_NAMED_PLACE,
};

#define EMMAP_HEADER(txn, kind, class) ((uint64_t)(txn) << 16 | (uint64_t)(kind) << 8 | (uint64_t)(class))
#define EMMAP_BIRTH(header) ((header) >> 16)
#define EMMAP_KIND(header) ((unsigned)((header) >> 8 & 255))
#define EMMAP_CLASS(header) ((unsigned)((header) & 255))

/* What a commit publishes. */
struct emmap_root {
    uint64_t header;
    uint64_t txn;
    uint64_t directory;         /* a trie: names to records */
    uint64_t names;
};

/* A trie: 5 bits of the hash for each level, from the top. A leaf stands for all hashes with the same
 * first `bits` bits; all slots of its node that such hashes lead to refer to it. */
#define EMMAP_WAY_BITS 5
#define EMMAP_WAYS (1 << EMMAP_WAY_BITS)
struct emmap_node {
    uint64_t header;
    uint64_t level;             /* 0: the root */
    uint64_t refs[EMMAP_WAYS];  /* nodes of the next level and leaves; never 0 */
};

#define EMMAP_LEAF_MOST 16      /* entries; more only where the first 60 bits are the same */
#define EMMAP_LEAF_END 255
struct emmap_leaf {
    uint64_t header;
    uint16_t n, capacity;       /* entries; a multiple of 4 */
    uint16_t bits;
    uint16_t zero;
    uint32_t tags[];            /* `capacity` of them: bits 24 to 55 of the hash; then as many uint64_t: the entries */
};

#define EMMAP_LARGE 1           /* flags: what is inline is the offset of an EMMAP_VALUE */
struct emmap_entry {
    uint64_t header;
    uint32_t key_n;
    uint8_t key_kind, tag, flags, zero;
    uint64_t value_n;           /* bytes of the payload, wherever it is */
    unsigned char bytes[];      /* key; then, from the next multiple of 8 on, payload or offset */
};
#define EMMAP_BEHIND_KEY(key_n) (((uint64_t)(key_n) + 7) & ~UINT64_C(7))

/* The bytes of one value. The payload begins at EMMAP_PAYLOAD_AT(n) from the block's start. */
struct emmap_value {
    uint64_t header;
    uint64_t n;
};
#define EMMAP_PAYLOAD_AT(n) ((n) < 448 ? (size_t)16 : (size_t)64)

/* An entry longer than this keeps its payload in an EMMAP_VALUE; arrays always do. */
#define EMMAP_INLINE 1024

/* A list: a tree by position. Every node but the root has at least a quarter of EMMAP_LIST_MOST. */
#define EMMAP_LIST_MOST 32
struct emmap_list_node {
    uint64_t header;
    uint16_t n, height;         /* of children; a leaf has height 0 */
    uint32_t capacity;          /* a multiple of 4 */
    struct emmap_list_child {
        uint64_t ref;
        uint64_t count;         /* elements below */
    } children[];
};

/* Up to 14 bytes of payload lie in the slot; of more (`n` 255) there is an EMMAP_VALUE, its offset in
 * bytes 8 to 15 of the slot. */
struct emmap_slot {
    uint8_t tag, n;
    uint8_t bytes[14];
};
struct emmap_list_leaf {
    uint64_t header;
    uint16_t n, height;         /* 0 */
    uint32_t capacity;          /* a multiple of 4 */
    struct emmap_slot slots[];
};

/* What a name stands for: the payload of the directory's entry, tag EMMAP_RECORD_TAG. */
#define EMMAP_RECORD_TAG 128
enum emmap_kind_of_record {
    EMMAP_A_DICT = 1,           /* `root` is a trie's */
    EMMAP_A_LIST,               /* a list's */
    EMMAP_AN_ARRAY,             /* an EMMAP_VALUE, with `tag` */
    EMMAP_A_PLACE,              /* an EMMAP_NAMED_PLACE: `tag` is its enum emmap_kind */
};
struct emmap_record {
    uint8_t kind, tag;
    uint16_t zero[3];
    uint64_t root;
    uint64_t count;             /* keys or elements; of a place its size */
};

/* A named lock: the place begins 64 bytes from the block's start. */
#define EMMAP_NAMED_PLACE_AT 64

_Static_assert(sizeof(struct emmap_meta) <= 4096, "a meta fits into its page");
_Static_assert(sizeof(struct emmap_live) <= 4096, "the live words fit before the spaces");
_Static_assert(sizeof(struct emmap_space) <= 8192, "a space fits into its place");
_Static_assert(sizeof(struct emmap_pin) == 64, "a pin has a line of its own");
_Static_assert(EMMAP_PINS * sizeof(struct emmap_pin) <= EMMAP_BLOCKS_AT - EMMAP_PINS_AT, "the pins fit");
_Static_assert(sizeof(struct emmap_chunk) == 1024, "a chunk has 1 KiB");
_Static_assert(sizeof(struct emmap_slot) == 16, "a slot has 16 bytes");

#endif
