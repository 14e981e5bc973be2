#pragma once

#include <cstddef>

namespace kuea {

/**
 * Makes libtorch keep the large CPU blocks that it frees, by size, for its next request of that size. A training step asks for the same
 * sizes every time; fresh pages from the system cost more than the element-wise operations that fill them. Call before the first tensor.
 */
void install_caching_allocator();

/** Gives the kept blocks back to the system. */
void release_cached_memory();

/** Bytes of large blocks in use, kept free, and the most that were in use at once since release_cached_memory(). */
struct CpuMemory {
  size_t in_use, cached, peak;
};
CpuMemory cpu_memory();

}  // namespace kuea
