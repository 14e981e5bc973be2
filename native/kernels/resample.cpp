#include "kernels/resample.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/clones.h"

namespace kuea::kernels {
namespace {

constexpr int precision_bits = 32 - 8 - 2;
constexpr int half = 1 << (precision_bits - 1);

double cubic(double t) {
  t = std::fabs(t);
  if (t < 1.0) return (1.5 * t - 2.5) * t * t + 1;
  if (t < 2.0) return -0.5 * (((t - 5) * t + 8) * t - 4);
  return 0.0;
}

/** Along one axis: output i of the window is the sum over k < taps of weights[i * taps + k] * input[first[i] + k]. */
struct Axis {
  int count;
  int taps;
  const int* first;
  const int* weights;
};

/**
 * Weights for outputs [begin, begin + count) of an axis resized from `in` to `out`. Every `first` leaves room for `taps` inputs if `in` has
 * them.
 */
Axis make_axis(int in, int out, int begin, int count, std::vector<int>& first, std::vector<int>& weights) {
  const double scale = static_cast<double>(in) / out;
  const double filter_scale = std::max(scale, 1.0);
  const double support = 2.0 * filter_scale;
  const double inverse = 1.0 / filter_scale;
  const int taps = std::min(in, static_cast<int>(std::ceil(support)) * 2 + 1);
  first.assign(count, 0);
  weights.assign(static_cast<size_t>(count) * taps, 0);
  std::vector<double> w(taps);
  for (int i = 0; i < count; ++i) {
    const double centre = (begin + i + 0.5) * scale;
    const int low = std::max(0, static_cast<int>(centre - support + 0.5));
    const int high = std::min(in, static_cast<int>(centre + support + 0.5));
    double sum = 0;
    for (int k = 0; k < high - low; ++k) sum += w[k] = cubic((k + low - centre + 0.5) * inverse);
    // Shifted left at the far edge, so that the taps of weight 0 also lie inside the image.
    first[i] = std::min(low, in - taps);
    int* row = &weights[static_cast<size_t>(i) * taps + (low - first[i])];
    for (int k = 0; k < high - low; ++k) {
      const double fixed = (sum == 0.0 ? w[k] : w[k] / sum) * (1 << precision_bits);
      row[k] = static_cast<int>(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
    }
  }
  return {count, taps, first.data(), weights.data()};
}

KUEA_INLINE uint8_t clip8(int value) { return static_cast<uint8_t>(std::clamp(value >> precision_bits, 0, 255)); }

// The horizontal pass works on `lanes` bytes side by side: columns of 32 rows of grey, or of 8 rows of RGB with a byte of padding a pixel.
// So every tap is one multiplication of a whole column, and the layout costs one copy of the source.
constexpr int lanes = 32;
constexpr int rgb_rows = lanes / 4;

/** uint8 [width, lanes] to uint8 [axis.count, lanes]. */
KUEA_CLONES void convolve_columns(const uint8_t* source, const Axis& axis, uint8_t* target) {
  for (int x = 0; x < axis.count; ++x) {
    const uint8_t* in = source + static_cast<size_t>(axis.first[x]) * lanes;
    const int* w = axis.weights + static_cast<size_t>(x) * axis.taps;
    int sum[lanes];
    for (int i = 0; i < lanes; ++i) sum[i] = half;
    for (int k = 0; k < axis.taps; ++k) {
      for (int i = 0; i < lanes; ++i) sum[i] += w[k] * in[k * lanes + i];
    }
    for (int i = 0; i < lanes; ++i) target[x * lanes + i] = clip8(sum[i]);
  }
}

/** Bits [8 c, 8 c + 8) of each word. */
KUEA_CLONES void take_byte(const uint32_t* words, int count, int c, uint8_t* target) {
  for (int x = 0; x < count; ++x) target[x] = static_cast<uint8_t>(words[x] >> (8 * c));
}

/** Rows of grey (at most `lanes`): uint8 [rows, width], `pitch` apart, to uint8 [rows, axis.count]. */
void horizontal_grey(const uint8_t* source, size_t pitch, int rows, int width, const Axis& axis, uint8_t* target,
                     ResampleScratch& scratch) {
  for (int r = 0; r < rows; ++r) {
    const uint8_t* row = source + r * pitch;
    for (int x = 0; x < width; ++x) scratch.columns[static_cast<size_t>(x) * lanes + r] = row[x];
  }
  convolve_columns(scratch.columns.data(), axis, scratch.convolved.data());
  for (int r = 0; r < rows; ++r) {
    uint8_t* row = target + static_cast<size_t>(r) * axis.count;
    for (int x = 0; x < axis.count; ++x) row[x] = scratch.convolved[static_cast<size_t>(x) * lanes + r];
  }
}

/**
 * Rows of RGB (at most `rgb_rows`): uint8 [rows, width, 3], `pitch` apart, to three planes of uint8 [rows, axis.count], `plane` apart.
 * Pixels are read as 4 bytes, which the last one of a row may not have.
 */
void horizontal_rgb(const uint8_t* source, size_t pitch, int rows, int width, const Axis& axis, uint8_t* target, size_t plane,
                    ResampleScratch& scratch) {
  for (int r = 0; r < rows; ++r) {
    const uint8_t* row = source + r * pitch;
    uint8_t* column = scratch.columns.data() + 4 * r;
    for (int x = 0; x < width - 1; ++x) std::memcpy(column + static_cast<size_t>(x) * lanes, row + 3 * x, 4);
    std::memcpy(column + static_cast<size_t>(width - 1) * lanes, row + 3 * (width - 1), 3);
  }
  convolve_columns(scratch.columns.data(), axis, scratch.convolved.data());
  for (int r = 0; r < rows; ++r) {
    for (int x = 0; x < axis.count; ++x) std::memcpy(&scratch.words[x], &scratch.convolved[static_cast<size_t>(x) * lanes + 4 * r], 4);
    for (int c = 0; c < 3; ++c) take_byte(scratch.words.data(), axis.count, c, target + c * plane + static_cast<size_t>(r) * axis.count);
  }
}

/** One plane, uint8 [rows, width] to uint8 [axis.count, width] at `target`, rows `stride` apart. */
KUEA_CLONES void vertical(const uint8_t* source, int width, const Axis& axis, uint8_t* target, size_t stride) {
  constexpr int block = 32;
  for (int y = 0; y < axis.count; ++y) {
    const uint8_t* in = source + static_cast<size_t>(axis.first[y]) * width;
    const int* w = axis.weights + static_cast<size_t>(y) * axis.taps;
    uint8_t* out = target + y * stride;
    int x = 0;
    for (; x + block <= width; x += block) {
      int sum[block];
      for (int i = 0; i < block; ++i) sum[i] = half;
      for (int k = 0; k < axis.taps; ++k) {
        const uint8_t* row = in + static_cast<size_t>(k) * width + x;
        for (int i = 0; i < block; ++i) sum[i] += w[k] * row[i];
      }
      for (int i = 0; i < block; ++i) out[x + i] = clip8(sum[i]);
    }
    for (; x < width; ++x) {
      int sum = half;
      for (int k = 0; k < axis.taps; ++k) sum += w[k] * in[static_cast<size_t>(k) * width + x];
      out[x] = clip8(sum);
    }
  }
}

}  // namespace

void resample_bicubic(const uint8_t* source, const ResampleGeometry& g, uint8_t* target, ResampleScratch& scratch) {
  const size_t plane = static_cast<size_t>(g.size) * g.size;
  // The part of the window that lies inside the resized image.
  const int x0 = std::max(g.left, 0), x1 = std::min(g.left + g.size, g.resized_width);
  const int y0 = std::max(g.top, 0), y1 = std::min(g.top + g.size, g.resized_height);
  const int width = x1 - x0, height = y1 - y0;
  if (width < g.size || height < g.size) std::memset(target, 0, 3 * plane);
  if (width <= 0 || height <= 0) return;

  const Axis across = make_axis(g.width, g.resized_width, x0, width, scratch.first_x, scratch.weights_x);
  const Axis down = make_axis(g.height, g.resized_height, y0, height, scratch.first_y, scratch.weights_y);
  // The part of the source that the window needs.
  const int left = scratch.first_x.front(), columns = scratch.first_x.back() + across.taps - left;
  const int top = scratch.first_y.front(), rows = scratch.first_y.back() + down.taps - top;
  for (int& first : scratch.first_x) first -= left;
  for (int& first : scratch.first_y) first -= top;

  const size_t pitch = static_cast<size_t>(g.width) * g.channels;
  const size_t between = static_cast<size_t>(rows) * width;
  scratch.rows.resize(between * g.channels);
  scratch.columns.resize(static_cast<size_t>(columns) * lanes);
  scratch.convolved.resize(static_cast<size_t>(width) * lanes);
  scratch.words.resize(width);
  const int block = g.channels == 1 ? lanes : rgb_rows;
  for (int y = 0; y < rows; y += block) {
    const int count = std::min(block, rows - y);
    const uint8_t* in = source + (top + y) * pitch + static_cast<size_t>(left) * g.channels;
    uint8_t* out = &scratch.rows[static_cast<size_t>(y) * width];
    if (g.channels == 1) {
      horizontal_grey(in, pitch, count, columns, across, out, scratch);
    } else {
      horizontal_rgb(in, pitch, count, columns, across, out, between, scratch);
    }
  }

  uint8_t* corner = target + static_cast<size_t>(y0 - g.top) * g.size + (x0 - g.left);
  for (int c = 0; c < g.channels; ++c) vertical(&scratch.rows[c * between], width, down, corner + c * plane, g.size);
  for (int c = g.channels; c < 3; ++c) std::memcpy(target + c * plane, target, plane);
}

}  // namespace kuea::kernels
