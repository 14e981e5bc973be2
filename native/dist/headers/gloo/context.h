#pragma once

// libtorch holds Gloo but ships none of its headers. c10d's ProcessGroupGloo.hpp names a few of its types: these files declare as much of
// them as that header needs. Nothing of Gloo is called from here but through c10d.
#include <chrono>

namespace gloo {

class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};

}  // namespace gloo
