#pragma once

#include <c10/util/intrusive_ptr.h>

#include "dist/process_group.h"

namespace kuea {

/** c10d's process group over a store: Gloo for CPU tensors and, where asked for, NCCL for CUDA ones. */
c10::intrusive_ptr<c10d::ProcessGroup> make_process_group(const c10::intrusive_ptr<c10d::Store>& store, const ProcessGroupSpec& spec);

}  // namespace kuea
