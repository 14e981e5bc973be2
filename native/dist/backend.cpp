#include "dist/backend.h"

#include <cstdlib>

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#ifdef KUEA_CUDA
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include "runtime/error.h"

namespace kuea {
namespace {

/** This machine's address on the way to the master: the one that the others can reach. Empty when there is no way. */
std::string address_towards(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  std::string address;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return address;
  for (auto* info = found; info != nullptr && address.empty(); info = info->ai_next) {
    const int fd = socket(info->ai_family, info->ai_socktype | SOCK_CLOEXEC, 0);
    if (fd < 0) continue;
    // Of a datagram socket this sends nothing; it chooses the route.
    sockaddr_storage local{};
    socklen_t length = sizeof local;
    char text[NI_MAXHOST];
    if (connect(fd, info->ai_addr, info->ai_addrlen) == 0 && getsockname(fd, reinterpret_cast<sockaddr*>(&local), &length) == 0 &&
        getnameinfo(reinterpret_cast<sockaddr*>(&local), length, text, sizeof text, nullptr, 0, NI_NUMERICHOST) == 0) {
      address = text;
    }
    close(fd);
  }
  freeaddrinfo(found);
  return address;
}

c10::intrusive_ptr<c10d::Backend> make_gloo(const c10::intrusive_ptr<c10d::Store>& store, const ProcessGroupSpec& spec) {
  using Gloo = c10d::ProcessGroupGloo;
  const auto options = Gloo::Options::create(spec.timeout);
  const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
  const auto address = address_towards(spec.master_addr, spec.master_port);
  options->devices.push_back(interface != nullptr ? Gloo::createDeviceForInterface(interface)
                             : address.empty()    ? Gloo::createDefaultDevice()
                                                  : Gloo::createDeviceForHostname(address));
  return c10::make_intrusive<Gloo>(store, spec.rank, spec.size, options);
}

#ifdef KUEA_CUDA
c10::intrusive_ptr<c10d::Backend> make_nccl(const c10::intrusive_ptr<c10d::Store>& store, const ProcessGroupSpec& spec) {
  using Nccl = c10d::ProcessGroupNCCL;
  const auto options = Nccl::Options::create();
  options->timeout = spec.timeout;
  // Gloo and NCCL count their messages by themselves.
  return c10::make_intrusive<Nccl>(c10::make_intrusive<c10d::PrefixStore>("nccl", store), spec.rank, spec.size, options);
}
#endif

}  // namespace

c10::intrusive_ptr<c10d::ProcessGroup> make_process_group(const c10::intrusive_ptr<c10d::Store>& store, const ProcessGroupSpec& spec) {
  using Type = c10d::ProcessGroup::BackendType;
  auto group = c10::make_intrusive<c10d::ProcessGroup>(store, spec.rank, spec.size);
  group->setBackend(at::kCPU, Type::GLOO, make_gloo(store, spec));
  group->setDefaultBackend(Type::GLOO);
#ifdef KUEA_CUDA
  if (spec.nccl) group->setBackend(at::kCUDA, Type::NCCL, make_nccl(store, spec));
#else
  if (spec.nccl)
    throw Error("no_nccl", "this build has no NCCL: use the gloo backend, or build for CUDA with npm run build:native -- --cuda");
#endif
  return group;
}

}  // namespace kuea
