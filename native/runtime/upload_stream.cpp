#include "runtime/upload_stream.h"

#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>

namespace kuea {

UploadStream::UploadStream(at::Device device) : device_(device) {
  if (device.is_cpu()) return;
  stream_ = c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device);
  copied_.emplace(device.type());
}

at::Tensor UploadStream::upload(const at::Tensor& host) {
  if (!stream_) return host;
  at::Tensor copy;
  {
    // Memory taken on this stream is free of what the other one may still read.
    const c10::StreamGuard guard(*stream_);
    copy = host.to(device_, host.scalar_type(), /*non_blocking=*/true);
    copied_->record(*stream_);
  }
  const auto current = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
  copied_->block(current);
  // Not to be given to the next upload before the current stream is done with it.
  copy.record_stream(current);
  return copy;
}

void UploadStream::wait() noexcept {
  if (!stream_) return;
  try {
    copied_->synchronize();
  } catch (const c10::Error&) {
  }
}

}  // namespace kuea
