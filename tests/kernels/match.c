#include "check.h"
#include "ms_match.h"

int main(void) {
    for (int round = 0; round < 2000; round++) {
        uint64_t window[MS_MATCH_WINDOW];
        for (int i = 0; i < MS_MATCH_WINDOW; i++) window[i] = random_below(3) << random_below(60);
        const uint64_t symbol = window[random_below(MS_MATCH_WINDOW)];
        const uint32_t bits = ms_match_scalar.window_u64(window, symbol);
        digest(&bits, sizeof bits);

        uint32_t values[200], expected[200], found[200];
        const size_t n = random_below(200);
        for (size_t i = 0; i < n; i++) values[i] = (uint32_t)random_below(4) * 0x40000000u;
        const uint32_t needle = (uint32_t)random_below(5) * 0x40000000u;
        const size_t count = ms_match_scalar.find_u32(values, n, needle, expected);
        digest(expected, count * sizeof *expected);

        for (int level = 0; next_level(&level);) {
            const ms_match_kernels *kernels = ms_match_select((ms_simd_level)level);
            const uint32_t other = kernels->window_u64(window, symbol);
            check_same("window_u64", (ms_simd_level)level, &other, &bits, sizeof bits);
            const size_t other_count = kernels->find_u32(values, n, needle, found);
            check_same("count of find_u32", (ms_simd_level)level, &other_count, &count,
                       sizeof count);
            check_same("find_u32", (ms_simd_level)level, found, expected,
                       count * sizeof *expected);
        }
    }
    return finish("match");
}
