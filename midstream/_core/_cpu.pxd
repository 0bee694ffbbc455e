cpdef int simd_level_number() noexcept
