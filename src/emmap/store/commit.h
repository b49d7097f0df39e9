/* Transactions: begun, nested, published by one store of eight bytes, or dropped. */
#ifndef EMMAP_COMMIT_H
#define EMMAP_COMMIT_H

#include "space.h"

/* Begins. The caller holds the writer's lock, and `txn` is his: zeros the first time, later what is left of
 * the one before. 0, -EUCLEAN, -EIO, -ENOMEM. */
int emmap_begin(struct emmap_txn *txn, struct emmap_store *store);

/* Publishes. An error leaves the store as it was, and the transaction is over all the same. */
int emmap_commit(struct emmap_txn *txn);

/* Drops all. It is what a kill does, and so does nothing to the file. */
void emmap_rollback(struct emmap_txn *txn);

/* Has anything been changed? */
int emmap_is_changed(const struct emmap_txn *txn);

/* A place in a transaction to go back to. */
struct emmap_savepoint {
    struct emmap_space space;
    uint64_t directory, names;
    size_t retired;
};

/* Makes one: malloc'ed, for the caller to free. -ENOMEM. */
int emmap_savepoint(struct emmap_txn *txn, struct emmap_savepoint **savepoint);
void emmap_rollback_to(struct emmap_txn *txn, const struct emmap_savepoint *savepoint);

/* From now on nothing that the transaction has made is changed in place: for who reads it. */
int emmap_freeze(struct emmap_txn *txn);

/* The store in numbers, of one moment: read without the lock. -EAGAIN: it changes too fast to be read. */
struct emmap_figures {
    uint64_t txn, names, used, free, held;
};
int emmap_figures_of(struct emmap_store *store, struct emmap_figures *figures);

/* Frees what a transaction keeps between its uses. */
void emmap_txn_end(struct emmap_txn *txn);

#endif
