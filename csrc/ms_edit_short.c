/* The distances of short sequences, for which finding ranks first would cost more than the rest. */
#include <string.h>

#include "ms_edit.h"
#include "ms_edit_word.h"

/* Matches by byte value. */
#define BYTES(words)                                                                             \
    typedef struct bytes##words {                                                                \
        uint64_t table[256][words];                                                              \
    } bytes##words;                                                                              \
    MS_EDIT_INLINE const uint64_t *find##words##_u8(const bytes##words *t, uint8_t symbol) {     \
        return t->table[symbol];                                                                 \
    }                                                                                            \
    MS_EDIT_INLINE void fill##words##_u8(bytes##words *t, const uint8_t *a, size_t n) {          \
        memset(t, 0, sizeof *t);                                                                 \
        for (size_t i = 0; i < n; i++) t->table[a[i]][i / 64] |= (uint64_t)1 << (i % 64);        \
    }
BYTES(1)
BYTES(2)

/* Matches by number: at most 128 of them in 256 slots, open addressing. */
#define NUMBERS(words)                                                                           \
    typedef struct numbers##words {                                                              \
        uint64_t table[129][words]; /* 0: of no number */                                        \
        int64_t number[256];                                                                     \
        uint8_t match[256]; /* 0: empty slot */                                                  \
    } numbers##words;                                                                            \
    MS_EDIT_INLINE size_t slot##words(const numbers##words *t, int64_t symbol) {                 \
        size_t at = (size_t)(((uint64_t)symbol * 0x9E3779B97F4A7C15u) >> 56);                    \
        while (t->match[at] != 0 && t->number[at] != symbol) at = (at + 1) & 255;                \
        return at;                                                                               \
    }                                                                                            \
    MS_EDIT_INLINE const uint64_t *find##words##_i64(const numbers##words *t, int64_t symbol) {  \
        return t->table[t->match[slot##words(t, symbol)]];                                       \
    }                                                                                            \
    MS_EDIT_INLINE void fill##words##_i64(numbers##words *t, const int64_t *a, size_t n) {       \
        uint8_t used = 0;                                                                        \
        memset(t->match, 0, sizeof t->match);                                                    \
        memset(t->table[0], 0, sizeof t->table[0]);                                              \
        for (size_t i = 0; i < n; i++) {                                                         \
            const size_t at = slot##words(t, a[i]);                                              \
            if (t->match[at] == 0) {                                                             \
                t->match[at] = ++used;                                                           \
                t->number[at] = a[i];                                                            \
                memset(t->table[used], 0, sizeof t->table[0]);                                   \
            }                                                                                    \
            t->table[t->match[at]][i / 64] |= (uint64_t)1 << (i % 64);                           \
        }                                                                                        \
    }
NUMBERS(1)
NUMBERS(2)

#define SYMBOL uint8_t
#define NAME(x) x##_u8
#define MATCHES(words) bytes##words
#include "ms_edit_short.h"

#define SYMBOL int64_t
#define NAME(x) x##_i64
#define MATCHES(words) numbers##words
#include "ms_edit_short.h"
