/* QUIC's variable-length integers (RFC 9000, section 16): 1, 2, 4 or 8 bytes, 6 to 62 bits. */
#ifndef MS_VARINT_H
#define MS_VARINT_H

#include <stddef.h>
#include <stdint.h>

#define MS_VARINT_MAX UINT64_C(0x3fffffffffffffff)

/* Bytes that `value` takes: 1, 2, 4 or 8. Only for value <= MS_VARINT_MAX. */
static inline unsigned ms_varint_size(uint64_t value)
{
    return value < 0x40 ? 1 : value < 0x4000 ? 2 : value < 0x40000000 ? 4 : 8;
}

/* Write `value` into exactly `size` bytes, which may be more than it needs (a length that is filled
 * in later). Returns where it ends. */
static inline uint8_t *ms_varint_write_as(uint8_t *p, uint64_t value, unsigned size)
{
    const uint8_t form = size == 1 ? 0x00 : size == 2 ? 0x40 : size == 4 ? 0x80 : 0xc0;
    for (unsigned i = size; i-- > 0; value >>= 8)
        p[i] = (uint8_t)value;
    p[0] |= form;
    return p + size;
}

/* Write `value` in its shortest form. The caller has made sure of ms_varint_size bytes. */
static inline uint8_t *ms_varint_write(uint8_t *p, uint64_t value)
{
    if (value < 0x40) {
        *p = (uint8_t)value;
        return p + 1;
    }
    if (value < 0x4000) {
        p[0] = (uint8_t)(0x40 | value >> 8);
        p[1] = (uint8_t)value;
        return p + 2;
    }
    return ms_varint_write_as(p, value, value < 0x40000000 ? 4 : 8);
}

/* Read one from [p, end) into `value`. Returns where it ends, or NULL where it does not end before
 * `end` (then `value` is as it was). */
static inline const uint8_t *ms_varint_read(const uint8_t *p, const uint8_t *end, uint64_t *value)
{
    if (p >= end)
        return NULL;
    const unsigned size = 1u << (*p >> 6);
    if ((size_t)(end - p) < size)
        return NULL;
    uint64_t v = *p & 0x3f;
    for (unsigned i = 1; i < size; i++)
        v = v << 8 | p[i];
    *value = v;
    return p + size;
}

#endif
