#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace kuea {

/** What the core throws for a fault that a user can mend: a stable code, and one sentence. Becomes KueaError in JavaScript. */
class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message) : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

}  // namespace kuea
