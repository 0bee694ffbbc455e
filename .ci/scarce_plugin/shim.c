/* What .ci/scarce preloads: allocations of midstream's compiled modules that fail when they are told
 * to, and Ctrl-C at the moment when a kernel asks Python whether to go on. Before glibc, whose own
 * functions stay there under other names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

/* Of allocations and of questions: how many there were, and which one it is about. */
static struct {
    atomic_long seen, wanted;
} allocations, questions;

static const char QUESTION[] = "PyErr_CheckSignals";
static int (*check_signals)(void);

/* Whether this is the one, in the thread that is looked at. */
static int is_it(atomic_long *seen, atomic_long *wanted) {
    return atomic_fetch_add(seen, 1) + 1 == atomic_load_explicit(wanted, memory_order_relaxed);
}

static int question(void) {
    const long nth = atomic_load_explicit(&questions.wanted, memory_order_relaxed);
    if (nth != 0 && pthread_equal(thread, pthread_self()) &&
        is_it(&questions.seen, &questions.wanted))
        raise(SIGINT);
    return check_signals();
}

/* Lead a module's calls of one function of Python's, which lies in the executable, where nothing
 * that is preloaded comes before it, to ours. */
static void redirect(uintptr_t base, const ElfW(Dyn) *dynamic) {
    const char *strings = NULL;
    const ElfW(Sym) *symbols = NULL;
    const ElfW(Rela) *tables[2] = {NULL, NULL};
    size_t sizes[2] = {0, 0};
    for (; dynamic->d_tag != DT_NULL; dynamic++) {
        const uintptr_t value = dynamic->d_un.d_ptr;
        switch (dynamic->d_tag) {
        case DT_STRTAB: strings = (const char *)value; break;
        case DT_SYMTAB: symbols = (const ElfW(Sym) *)value; break;
        case DT_RELA: tables[0] = (const ElfW(Rela) *)value; break;
        case DT_RELASZ: sizes[0] = value; break;
        case DT_JMPREL: tables[1] = (const ElfW(Rela) *)value; break;
        case DT_PLTRELSZ: sizes[1] = value; break;
        default: break;
        }
    }
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int t = 0; t < 2; t++) {
        for (size_t k = 0; tables[t] != NULL && k < sizes[t] / sizeof *tables[t]; k++) {
            const ElfW(Sym) *symbol = &symbols[tables[t][k].r_info >> 32];
            if (strcmp(strings + symbol->st_name, QUESTION) != 0) continue;
            void **slot = (void **)(base + tables[t][k].r_offset);
            if (*slot == (void *)question) continue;
            void *start = (void *)((uintptr_t)slot / page * page);
            if (mprotect(start, page, PROT_READ | PROT_WRITE) == 0) *slot = (void *)question;
        }
    }
}

static int look(struct dl_phdr_info *info, size_t size, void *unused) {
    (void)size;
    (void)unused;
    if (strstr(info->dlpi_name, "/midstream/") == NULL) return 0;
    for (int k = 0; k < info->dlpi_phnum && n_ranges < MANY; k++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[k];
        if (part->p_type == PT_DYNAMIC)
            redirect(info->dlpi_addr, (const ElfW(Dyn) *)(info->dlpi_addr + part->p_vaddr));
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
        const int at = n_ranges;
        ranges[at].first = info->dlpi_addr + part->p_vaddr;
        ranges[at].last = ranges[at].first + part->p_memsz;
        n_ranges = at + 1;
    }
    return 0;
}

/* From now on, in this thread, count; have the nth allocation of ours fail, and press Ctrl-C at the
 * nth question; at none, with 0. */
void scarce_begin(long allocation, long asked) {
    allocations.wanted = questions.wanted = 0;
    n_ranges = 0;
    check_signals = (int (*)(void))dlsym(RTLD_DEFAULT, QUESTION);
    dl_iterate_phdr(look, NULL);
    allocations.seen = questions.seen = 0;
    thread = pthread_self();
    allocations.wanted = allocation > 0 ? allocation : -1;
    questions.wanted = asked > 0 ? asked : -1;
}

/* Stop that; how many allocations and questions there were goes to `seen`. */
void scarce_end(long seen[2]) {
    allocations.wanted = questions.wanted = 0;
    seen[0] = allocations.seen;
    seen[1] = questions.seen;
}

static int fails(const void *caller) {
    const long nth = atomic_load_explicit(&allocations.wanted, memory_order_relaxed);
    if (nth == 0 || !pthread_equal(thread, pthread_self())) return 0;
    const uintptr_t at = (uintptr_t)caller;
    for (int k = 0; k < n_ranges; k++) {
        if (at < ranges[k].first || at >= ranges[k].last) continue;
        if (!is_it(&allocations.seen, &allocations.wanted)) return 0;
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
