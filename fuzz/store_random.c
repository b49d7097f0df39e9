/* The harness without libFuzzer, for a machine that has no clang: inputs at random.
 *
 *     store_random LAST ROUNDS SECONDS SEED     so many inputs, or for so long (0: no limit); the one
 *                                               under way is in the file LAST
 *     store_random LAST                         the input in LAST again
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t most, unsigned seed);

#define MOST 402
#define SECONDS 20      /* that one input may take: it takes milliseconds */

/* Shared with the file, so that it outlives a crash. */
struct last {
    uint64_t n;
    uint8_t data[MOST];
};

int main(int argc, char **argv)
{
    if (argc != 2 && argc != 5)
        return 2;
    int fd = open(argv[1], O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(struct last)) != 0)
        return 2;
    struct last *last = mmap(NULL, sizeof *last, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (last == MAP_FAILED)
        return 2;
    LLVMFuzzerInitialize(&argc, &argv);
    alarm(SECONDS);
    if (argc == 2)
        return LLVMFuzzerTestOneInput(last->data, last->n < MOST ? last->n : MOST);

    unsigned long rounds = strtoul(argv[2], NULL, 10), done = 0;
    time_t seconds = (time_t)strtoul(argv[3], NULL, 10), start = time(NULL);
    unsigned seed = (unsigned)strtoul(argv[4], NULL, 10);
    for (; (rounds == 0 || done < rounds) && (seconds == 0 || time(NULL) - start < seconds); done++) {
        if (done % 16 == 0) {
            alarm(SECONDS);
            last->n = 0; /* most damage is small: a few patches, then a store as it was */
        }
        last->n = LLVMFuzzerCustomMutator(last->data, last->n, MOST, seed + (unsigned)done);
        LLVMFuzzerTestOneInput(last->data, last->n);
    }
    printf("%lu inputs\n", done);
    return 0;
}
