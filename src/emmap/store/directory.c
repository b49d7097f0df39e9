/* Names and what they stand for; and the blocks of large values. */
#include "directory.h"

#include "list.h"

uint64_t emmap_value_new(struct emmap_txn *txn, uint64_t n, unsigned char **payload, int *rc)
{
    if (n > (uint64_t)64 << 30) {
        *rc = -EFBIG;
        return 0;
    }
    uint64_t at = emmap_allocate(txn, EMMAP_VALUE, EMMAP_PAYLOAD_AT(n) + n, rc);
    if (at == 0)
        return 0;
    /* SAFETY: the block has room for what was asked for. */
    struct emmap_value *value = emmap_at(txn->store, at);
    value->n = n;
    *payload = (unsigned char *)value + EMMAP_PAYLOAD_AT(n);
    return at;
}

const unsigned char *emmap_value_at(struct emmap_store *store, uint64_t at, uint64_t *n)
{
    const struct emmap_value *value = emmap_block_at(store, at, EMMAP_VALUE, sizeof *value);
    if (value == NULL)
        return NULL;
    *n = value->n;
    if (*n > store->room || !emmap_has(store, at, EMMAP_PAYLOAD_AT(*n) + *n)) {
        emmap_wrong(store, at, "a value reaches beyond the end of the file");
        return NULL;
    }
    return (const unsigned char *)value + EMMAP_PAYLOAD_AT(*n);
}

const struct emmap_record *emmap_record_of(struct emmap_store *store, const struct emmap_entry *entry)
{
    if (entry->tag != EMMAP_RECORD_TAG || entry->flags != 0 || entry->value_n != sizeof(struct emmap_record)) {
        emmap_wrong(store, (uint64_t)((const unsigned char *)entry - store->base),
                    "a name of the store stands for nothing that is known");
        return NULL;
    }
    const struct emmap_record *record = (const void *)emmap_entry_payload(store, entry);
    /* Each key or element takes some bytes. */
    if (record != NULL && !emmap_has(store, 0, record->count / 64 * 16)) {
        emmap_wrong(store, (uint64_t)((const unsigned char *)entry - store->base), "a record counts more than the file holds");
        return NULL;
    }
    return record;
}

int emmap_record_find(struct emmap_store *store, uint64_t directory, const struct emmap_key *name,
                      const struct emmap_record **record)
{
    const struct emmap_entry *entry;
    *record = NULL;
    int rc = emmap_trie_find(store, directory, name, &entry);
    if (rc != 0 || entry == NULL)
        return rc;
    *record = emmap_record_of(store, entry);
    return *record != NULL ? 0 : emmap_wrong_rc(store);
}

int emmap_record_own(struct emmap_txn *txn, const struct emmap_key *name, struct emmap_record **record)
{
    const struct emmap_entry *entry;
    unsigned char *payload;
    int rc = emmap_trie_find(txn->store, txn->directory, name, &entry);
    if (rc != 0 || entry == NULL)
        return rc != 0 ? rc : -ENOENT;
    const struct emmap_record *old = emmap_record_of(txn->store, entry);
    if (old == NULL)
        return emmap_wrong_rc(txn->store);
    if (emmap_is_ours(txn, entry)) {
        *record = (struct emmap_record *)old;
        return 0;
    }
    rc = emmap_trie_put(txn, &txn->directory, &txn->names, name, EMMAP_RECORD_TAG, sizeof *old, &payload);
    if (rc != 0)
        return rc;
    memcpy(payload, old, sizeof *old);
    *record = (struct emmap_record *)(void *)payload;
    return 0;
}

int emmap_record_put(struct emmap_txn *txn, const struct emmap_key *name, const struct emmap_record *record)
{
    unsigned char *payload;
    int rc = emmap_trie_put(txn, &txn->directory, &txn->names, name, EMMAP_RECORD_TAG, sizeof *record, &payload);
    if (rc == 0)
        memcpy(payload, record, sizeof *record);
    return rc;
}

int emmap_record_remove(struct emmap_txn *txn, const struct emmap_key *name)
{
    const struct emmap_record *found;
    int rc = emmap_record_find(txn->store, txn->directory, name, &found);
    if (rc != 0 || found == NULL)
        return rc != 0 ? rc : -ENOENT;
    struct emmap_record record = *found;
    rc = emmap_trie_remove(txn, &txn->directory, &txn->names, name);
    if (rc != 0)
        return rc;
    switch (record.kind) {
    case EMMAP_A_DICT:
        return emmap_trie_drop(txn, record.root);
    case EMMAP_A_LIST:
        return emmap_list_drop(txn, record.root, record.count);
    default:
        return emmap_retire(txn, record.root);
    }
}
