/* The length of a file, which is changed by one process at a time.
 *
 * A growth that fails gives back what it took, and must not cut off what somebody else has added. So
 * whoever changes a length locks one byte of the file meanwhile. No Python runs while it is locked.
 */
#ifndef EMMAP_LENGTH_H
#define EMMAP_LENGTH_H

#include <stdint.h>
#include <sys/types.h>

/* It lies beyond all bytes of files, and beyond the bytes that tell who is alive. */
#define EMMAP_GROWTH_BYTE ((INT64_C(1) << 62) + (INT64_C(1) << 61))

/* What is asked of the filesystem at least, when signals come so often that more is never done. */
#define EMMAP_LEAST_STEP (1 << 20)

/* Another descriptor of the file that its name leads to now, or -1 with errno. */
int emmap_file_open_again(int fd, int flags);

/* A description of the file to lock by: those who share one do not exclude each other, and the kept
 * descriptor may share its one with a child. Where it cannot be had, it shares the kept one's. */
int emmap_length_open(int fd);

/* Waits for the byte: 0, or -EINTR when a signal came. */
int emmap_length_lock(int lock);
void emmap_length_unlock(int lock);

/* Makes the file at least `to` bytes long, with space on the disk for each new one; unless `publish` it
 * only takes the space. All or nothing. `step` is how much to ask for at once, and becomes less with
 * -EINTR: call again. `before` gets the size that it had. Only regular files have a length: -EINVAL. */
int emmap_length_grow(int lock, off_t to, int publish, off_t *step, off_t *before);

/* Gives back the space that an interrupted growth has taken. It does not wait. */
void emmap_length_give_back(int lock);

/* Makes the file at most `to` bytes long, unless it has more than `unless_above`; and gives back the space
 * that was taken behind its end. */
int emmap_length_shrink(int lock, off_t to, off_t unless_above);

#endif
