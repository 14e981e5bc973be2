#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace kuea {

/**
 * Writes `header`, then each tensor row-major in its own dtype, and syncs the file to the disk. Tensors are made one at a time, so that a
 * model is never in memory twice. On failure the file is removed; throws Error `disk_full` or `unwritable_file`.
 */
void write_tensors(const std::string& path, std::span<const std::byte> header, const std::vector<std::function<at::Tensor()>>& tensors);

}  // namespace kuea
