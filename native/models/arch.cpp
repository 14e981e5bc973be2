#include "models/arch.h"

#include <initializer_list>

#include "runtime/error.h"

namespace kuea {
namespace {

/** More than any published model has: what is beyond is a damaged file, and would take all memory or hours. */
constexpr int64_t most_layers = 1024, most_pixels = 16384, most_width = int64_t{1} << 20, most_tokens = int64_t{1} << 24;

struct Bounded {
  const char* name;
  int64_t value, least, most;
};

void check(const std::string& model, std::initializer_list<Bounded> numbers, int64_t width, int64_t heads) {
  const auto fail = [&](const std::string& expected, const std::string& found) {
    throw Error("bad_config",
                "expected a " + model + " with " + expected + ", found " + found + ": is its config damaged, or that of another model?");
  };
  for (const auto& [name, value, least, most] : numbers) {
    if (value < least || value > most)
      fail(std::string(name) + " from " + std::to_string(least) + " to " + std::to_string(most), std::to_string(value));
  }
  if (width % heads != 0) fail("a width that its heads divide", std::to_string(width) + " and " + std::to_string(heads) + " heads");
}

}  // namespace

void check_arch(const ClipVisionArch& a) {
  check("CLIP",
        {{"width", a.width, 1, most_width},
         {"layers", a.layers, 1, most_layers},
         {"heads", a.heads, 1, most_width},
         {"mlpWidth", a.mlp_width, 1, most_width},
         {"patchSize", a.patch_size, 1, a.image_size},
         {"imageSize", a.image_size, 1, most_pixels},
         // LLaVA's has no projection.
         {"embedDim", a.embed_dim, 0, most_width}},
        a.width, a.heads);
}

void check_arch(const ClipTextArch& a) {
  check("CLIP's text tower",
        {{"width", a.width, 1, most_width},
         {"layers", a.layers, 1, most_layers},
         {"heads", a.heads, 1, most_width},
         {"mlpWidth", a.mlp_width, 1, most_width},
         {"context", a.context, 1, most_tokens},
         {"vocabulary", a.vocabulary, 1, most_tokens},
         {"embedDim", a.embed_dim, 1, most_width}},
        a.width, a.heads);
}

void check_arch(const Dinov2Arch& a) {
  check("DINOv2",
        {{"width", a.width, 1, most_width},
         {"layers", a.layers, 1, most_layers},
         {"heads", a.heads, 1, most_width},
         {"mlpWidth", a.mlp_width, 1, most_width},
         {"patchSize", a.patch_size, 1, a.image_size},
         {"imageSize", a.image_size, 1, most_pixels},
         {"registers", a.registers, 0, most_layers}},
        a.width, a.heads);
}

void check_arch(const LlamaArch& a) {
  check("LLaMA",
        {{"width", a.width, 1, most_width},
         {"layers", a.layers, 1, most_layers},
         {"heads", a.heads, 1, most_width},
         {"mlpWidth", a.mlp_width, 1, most_width},
         {"vocabulary", a.vocabulary, 1, most_tokens}},
        a.width, a.heads);
}

}  // namespace kuea
