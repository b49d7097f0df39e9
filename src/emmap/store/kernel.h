/* The system calls of a store, through one table: so that tests can log them, fail the k-th, and tell of
 * another boot. */
#ifndef EMMAP_KERNEL_H
#define EMMAP_KERNEL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct emmap_kernel {
    /* Each as the system call, but that they return -errno, and go on after EINTR. */
    int (*fallocate)(int fd, off_t offset, off_t n);    /* grows the file; zeros where it cannot be asked for */
    ssize_t (*pwrite)(int fd, const void *bytes, size_t n, off_t offset);
    int (*fdatasync)(int fd);
    int (*size)(int fd, uint64_t *bytes);
    int (*identity)(int fd, uint64_t *device, uint64_t *inode);
    int (*boot)(unsigned char id[16]);
    int (*random)(void *bytes, size_t n);
};

extern const struct emmap_kernel emmap_linux;

#endif
