#include "ms_spots.h"

#include <string.h>

/* Rows whose sum of 8-bit samples fits 16 bits. */
#define ROWS_AT_ONCE 256

void ms_spots_mean(const uint8_t *samples, size_t stride, size_t width, size_t height,
                   size_t columns, size_t rows, uint16_t *sums, float *means) {
    for (size_t r = 0; r < rows; r++) {
        uint64_t totals[MS_SPOTS_MOST] = {0};
        const size_t first = r * height / rows, end = (r + 1) * height / rows;
        for (size_t y = first; y < end;) {
            const size_t some = end - y < ROWS_AT_ONCE ? end - y : ROWS_AT_ONCE;
            memset(sums, 0, width * sizeof *sums);
            for (size_t k = 0; k < some; k++) {
                const uint8_t *restrict row = samples + (y + k) * stride;
                uint16_t *restrict sum = sums;
                for (size_t x = 0; x < width; x++) sum[x] = (uint16_t)(sum[x] + row[x]);
            }
            for (size_t c = 0; c < columns; c++) {
                uint32_t total = 0; /* 65535 columns of 65535 fit */
                const size_t stop = (c + 1) * width / columns;
                for (size_t x = c * width / columns; x < stop; x++) total += sums[x];
                totals[c] += total;
            }
            y += some;
        }
        for (size_t c = 0; c < columns; c++) {
            const size_t wide = (c + 1) * width / columns - c * width / columns;
            means[r * columns + c] = (float)((double)totals[c] / (double)(wide * (end - first)));
        }
    }
}
