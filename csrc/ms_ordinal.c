#include "ms_ordinal.h"

/* Windows at once: their codes and samples stay in the first-level cache. */
#define CHUNK 1024

void ms_ordinal_codes(const double *x, size_t count, size_t order, size_t delay, int64_t *codes) {
    int64_t factorial[MS_ORDINAL_MOST];
    factorial[0] = 1;
    for (size_t k = 1; k < order; k++) factorial[k] = factorial[k - 1] * (int64_t)k;
    for (size_t first = 0; first < count; first += CHUNK) {
        const size_t some = count - first < CHUNK ? count - first : CHUNK;
        int64_t *code = codes + first;
        for (size_t i = 0; i < some; i++) code[i] = 0;
        for (size_t p = 0; p + 1 < order; p++) {
            const double *here = x + first + p * delay;
            const int64_t weight = factorial[order - 1 - p];
            /* Lanes for the compiler: a comparison makes a mask of ones or zeros. */
            for (size_t q = p + 1; q < order; q++) {
                const double *later = x + first + q * delay;
                for (size_t i = 0; i < some; i++)
                    code[i] += -(int64_t)(later[i] < here[i]) & weight;
            }
        }
    }
}
