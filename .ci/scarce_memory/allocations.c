/* Allocations of midstream's compiled modules that fail when they are told to. Preloaded before
 * glibc, whose own functions stay there under other names. */
#define _GNU_SOURCE
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

enum { MANY = 512 };
static struct {
    uintptr_t first, last;
} ranges[MANY];
static atomic_int n_ranges;
static pthread_t thread;
static atomic_long seen, wanted;

static int look(struct dl_phdr_info *info, size_t size, void *unused) {
    (void)size;
    (void)unused;
    if (strstr(info->dlpi_name, "/midstream/") == NULL) return 0;
    for (int k = 0; k < info->dlpi_phnum && n_ranges < MANY; k++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[k];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
        const int at = n_ranges;
        ranges[at].first = info->dlpi_addr + part->p_vaddr;
        ranges[at].last = ranges[at].first + part->p_memsz;
        n_ranges = at + 1;
    }
    return 0;
}

/* Have the nth allocation of ours from now on, in this thread, fail; none, with 0. */
void scarce_begin(long nth) {
    wanted = 0;
    n_ranges = 0;
    dl_iterate_phdr(look, NULL);
    seen = 0;
    thread = pthread_self();
    wanted = nth > 0 ? nth : -1;
}

/* How many there were since then. */
long scarce_end(void) {
    wanted = 0;
    return seen;
}

static int fails(const void *caller) {
    const long nth = atomic_load_explicit(&wanted, memory_order_relaxed);
    if (nth == 0 || !pthread_equal(thread, pthread_self())) return 0;
    const uintptr_t at = (uintptr_t)caller;
    for (int k = 0; k < n_ranges; k++) {
        if (at < ranges[k].first || at >= ranges[k].last) continue;
        if (atomic_fetch_add(&seen, 1) + 1 != nth) return 0;
        errno = ENOMEM;
        return 1;
    }
    return 0;
}

void *malloc(size_t size) {
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size) {
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    return fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
    if (fails(__builtin_return_address(0))) return ENOMEM;
    *out = __libc_memalign(alignment, size);
    return *out == NULL ? ENOMEM : 0;
}
