#pragma once

#include <optional>

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

namespace kuea {

/** Copies from pinned memory to a GPU on a stream of its own, while the GPU computes. On the CPU tensors are used where they lie. */
class UploadStream {
 public:
  explicit UploadStream(at::Device device);

  /** `host` on the device. The GPU's current stream waits for the copy; the host does not, and `host` must stay as it is until wait(). */
  at::Tensor upload(const at::Tensor& host);

  /** Returns when everything has been copied. A copy that failed shows in what is computed from it, so this throws nothing. */
  void wait() noexcept;

 private:
  at::Device device_;
  std::optional<c10::Stream> stream_;
  std::optional<c10::Event> copied_;
};

}  // namespace kuea
