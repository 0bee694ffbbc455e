/* Functions from here to the end of the file may use AVX2. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt"))), \
                             apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("avx2,bmi,bmi2,lzcnt,popcnt")
#endif
