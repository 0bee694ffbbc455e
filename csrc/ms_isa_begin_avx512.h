/* Functions from here to the end of the file may use AVX-512. */
#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt," \
                          "avx512f,avx512bw,avx512dq,avx512vl,avx512cd"))), \
    apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("avx2,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512cd")
#endif
