/* One column of 64 rows in a machine word: what every kernel does, in plain C. */
#ifndef MS_EDIT_WORD_H
#define MS_EDIT_WORD_H

#include "ms_edit.h"

/* 64 rows of one column (Hyyro 2003): `s->hp`, `s->hn` have the differences handed in in their top
 * bits, and those handed on afterwards. */
typedef struct lev {
    uint64_t vp, vn, hp, hn;
} lev;

MS_EDIT_INLINE void lev_step(lev *s, uint64_t match, uint64_t hp, uint64_t hn) {
    const uint64_t hpi = hp >> 63, hni = hn >> 63, eq = match | hni;
    const uint64_t d0 = (((eq & s->vp) + s->vp) ^ s->vp) | eq | s->vn;
    s->hp = s->vn | ~(d0 | s->vp);
    s->hn = d0 & s->vp;
    const uint64_t hps = s->hp << 1 | hpi;
    s->vp = (s->hn << 1 | hni) | ~(d0 | hps);
    s->vn = d0 & hps;
}

/* 64 rows of one column (Crochemore et al. 2001, in Hyyro's form); the carry is the top bit. */
MS_EDIT_INLINE uint64_t lcs_step(uint64_t *s, uint64_t match, uint64_t carry) {
    const uint64_t both = *s & match, sum = *s + (carry >> 63) + both;
    carry = both | (*s & ~sum);
    *s = sum | (*s & ~match);
    return carry;
}

#endif
