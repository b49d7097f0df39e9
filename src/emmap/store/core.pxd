"""The C core of a store, as Cython sees it: the headers beside this file say what each does."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from emmap.locks.lock cimport emmap_lock
from emmap.locks.place cimport emmap_life, emmap_waiting
from emmap.mapping.memory cimport emmap_lost

cdef extern from "format.h" nogil:
    enum: EMMAP_BLOCKS_AT
    enum: EMMAP_LEAST_GROWTH
    enum: EMMAP_LIVE_AT
    enum: EMMAP_NAMED_PLACE
    enum: EMMAP_NAMED_PLACE_AT
    enum: EMMAP_A_DICT
    enum: EMMAP_A_LIST
    enum: EMMAP_AN_ARRAY
    enum: EMMAP_A_PLACE
    cdef struct emmap_live:
        uint64_t root
        uint64_t epoch
        uint64_t size
        uint64_t flushed
        uint64_t flushing
        uint64_t flushes
        uint64_t poisoned
    cdef struct emmap_pin:
        uint64_t owner
        uint64_t word
        uint64_t since
    cdef struct emmap_space:
        uint64_t frontier
        uint64_t retired
        uint64_t in_held
    cdef struct emmap_root:
        uint64_t txn
        uint64_t directory
        uint64_t names
    cdef struct emmap_entry:
        uint32_t key_n
        uint8_t key_kind
        uint8_t tag
        uint64_t value_n
        unsigned char *bytes
    cdef struct emmap_slot:
        uint8_t tag
        uint8_t n
    cdef struct emmap_record:
        uint8_t kind
        uint8_t tag
        uint64_t root
        uint64_t count

cdef extern from "kernel.h" nogil:
    cdef struct emmap_kernel:
        pass
    const emmap_kernel emmap_linux

cdef extern from "store.h" nogil:
    cdef struct emmap_protected:
        pass
    cdef struct emmap_store:
        unsigned char *base
        size_t room
        uint64_t size
        int fd
        int writable
        const emmap_kernel *kernel
        emmap_lost *lost
        emmap_life *life
        emmap_lock lock
        emmap_lock flush_lock
        emmap_pin *pin
        uint64_t wrong_at
        const char *wrong
        emmap_protected *protected
    emmap_live *emmap_live_of "emmap_live" (const emmap_store *store)
    emmap_space *emmap_space_of "emmap_space" (const emmap_store *store, int i)
    int emmap_store_look(emmap_store *store)
    void *emmap_block_at(emmap_store *store, uint64_t at, unsigned kind, uint64_t least)
    int emmap_has(emmap_store *store, uint64_t at, uint64_t n)
    int emmap_wrong_rc(emmap_store *store)

cdef extern from "pins.h" nogil:
    cdef struct emmap_oldest:
        uint64_t txn
        uint64_t pid
        uint64_t since
        int is_us
        size_t pins
    int emmap_pin_claim(emmap_store *store, emmap_pin **pin)
    int emmap_pin_claim_for(emmap_store *store, uint64_t owner, emmap_pin **pin)
    void emmap_pin_give(emmap_pin *pin)
    const emmap_root *emmap_pin_set(emmap_store *store, emmap_pin *pin)
    void emmap_pin_clear(emmap_pin *pin)
    void emmap_pin_copy(emmap_store *store, emmap_pin *pin, uint64_t txn)
    void emmap_pin_since(emmap_pin *pin)
    int emmap_oldest_pin(emmap_store *store, emmap_oldest *oldest)

cdef extern from "space.h" nogil:
    uint64_t EMMAP_OPERATION
    cdef struct emmap_txn:
        emmap_store *store
        uint64_t base
        uint64_t txn
        emmap_space *space
        const emmap_space *before
        uint64_t directory
        uint64_t names
    cdef struct emmap_figures:
        uint64_t txn, names, used, free, held
    int emmap_figures_of(emmap_store *store, emmap_figures *figures)
    int emmap_prepare(emmap_txn *txn, uint64_t n)
    uint64_t emmap_allocate(emmap_txn *txn, unsigned kind, uint64_t n, int *rc)
    int emmap_retire(emmap_txn *txn, uint64_t at)

cdef extern from "commit.h" nogil:
    cdef struct emmap_savepoint:
        pass
    int emmap_begin(emmap_txn *txn, emmap_store *store)
    int emmap_commit(emmap_txn *txn)
    void emmap_rollback(emmap_txn *txn)
    int emmap_savepoint_make "emmap_savepoint" (emmap_txn *txn, emmap_savepoint **savepoint)
    void emmap_rollback_to(emmap_txn *txn, const emmap_savepoint *savepoint)
    int emmap_freeze(emmap_txn *txn)
    void emmap_txn_end(emmap_txn *txn)

cdef extern from "trie.h" nogil:
    cdef struct emmap_key:
        uint64_t hash
        const unsigned char *bytes
        uint32_t n
        uint8_t kind
    cdef struct emmap_cursor:
        uint64_t left
    void emmap_key_hash(const emmap_store *store, emmap_key *key)
    int emmap_trie_find(emmap_store *store, uint64_t root, const emmap_key *key, const emmap_entry **entry)
    const unsigned char *emmap_entry_key(const emmap_entry *entry)
    const unsigned char *emmap_entry_payload(emmap_store *store, const emmap_entry *entry)
    int emmap_trie_put(emmap_txn *txn, uint64_t *root, uint64_t *count, const emmap_key *key, uint8_t tag,
                       uint64_t value_n, unsigned char **payload)
    int emmap_trie_remove(emmap_txn *txn, uint64_t *root, uint64_t *count, const emmap_key *key)
    int emmap_trie_drop(emmap_txn *txn, uint64_t root)
    void emmap_cursor_begin(emmap_cursor *cursor, emmap_store *store, uint64_t root, uint64_t count)
    int emmap_cursor_next(emmap_cursor *cursor, const emmap_entry **entry)

cdef extern from "walk.h" nogil:
    cdef struct emmap_walk:
        pass
    void emmap_walk_begin(emmap_walk *walk, emmap_store *store, uint64_t root, uint64_t count)
    void emmap_walk_end(emmap_walk *walk)
    uint64_t emmap_walk_left(const emmap_walk *walk)
    int emmap_walk_next(emmap_walk *walk, const emmap_entry **entry)

cdef extern from "directory.h" nogil:
    int emmap_record_find(emmap_store *store, uint64_t directory, const emmap_key *name,
                          const emmap_record **record)
    cdef struct emmap_seen:
        emmap_record record
    int emmap_record_see(emmap_store *store, const emmap_root *root, const emmap_key *name, emmap_seen *seen)
    int emmap_record_own(emmap_txn *txn, const emmap_key *name, emmap_record **record)
    int emmap_record_put(emmap_txn *txn, const emmap_key *name, const emmap_record *record)
    int emmap_record_remove(emmap_txn *txn, const emmap_key *name)
    const emmap_record *emmap_record_of(emmap_store *store, const emmap_entry *entry)
    uint64_t emmap_value_new(emmap_txn *txn, uint64_t n, unsigned char **payload, int *rc)
    const unsigned char *emmap_value_at(emmap_store *store, uint64_t at, uint64_t *n)

cdef extern from "list.h" nogil:
    cdef struct emmap_list_cursor:
        uint64_t left
    int emmap_list_get(emmap_store *store, uint64_t root, uint64_t count, uint64_t index, const emmap_slot **slot)
    const unsigned char *emmap_slot_payload(emmap_store *store, const emmap_slot *slot, uint64_t *n)
    int emmap_list_set(emmap_txn *txn, uint64_t *root, uint64_t count, uint64_t index, uint8_t tag,
                       uint64_t value_n, unsigned char **payload)
    int emmap_list_insert(emmap_txn *txn, uint64_t *root, uint64_t *count, uint64_t index, uint8_t tag,
                          uint64_t value_n, unsigned char **payload)
    int emmap_list_delete(emmap_txn *txn, uint64_t *root, uint64_t *count, uint64_t index)
    int emmap_list_splice(emmap_txn *txn, uint64_t *root, uint64_t *count, uint64_t start, uint64_t stop,
                          uint64_t other, uint64_t other_count)
    int emmap_list_rearrange(emmap_txn *txn, uint64_t *root, uint64_t *count, const uint64_t *order, uint64_t n)
    int emmap_list_drop(emmap_txn *txn, uint64_t root, uint64_t count)
    void emmap_list_cursor_begin(emmap_list_cursor *cursor, emmap_store *store, uint64_t root, uint64_t count,
                                 uint64_t index, int step)
    int emmap_list_cursor_next(emmap_list_cursor *cursor, const emmap_slot **slot)

cdef extern from "trace.h" nogil:
    cdef struct emmap_trace:
        uint64_t blocks
        uint64_t bytes
    int emmap_check(emmap_store *store, emmap_trace *found)
    void emmap_trace_end(emmap_trace *trace)

cdef extern from "flush.h" nogil:
    int emmap_flush(emmap_store *store, emmap_waiting *waiting)

cdef extern from "home.h" nogil:
    enum: EMMAP_NEEDS_RECOVERY
    int emmap_store_create(emmap_store *store)
    int emmap_store_recognise(emmap_store *store)
    int emmap_store_begin(emmap_store *store)
    int emmap_recover(emmap_store *store)
    void emmap_store_end(emmap_store *store)
