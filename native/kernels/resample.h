#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kuea::kernels {

/** Where the pixels of one image come from and which window of the resized image is wanted. */
struct ResampleGeometry {
  /** Source: uint8 [height, width, channels], channels 1 or 3. */
  int width;
  int height;
  int channels;
  /** Size after the resize of the whole image. */
  int resized_width;
  int resized_height;
  /** Top left corner of the window in the resized image; may be negative. */
  int left;
  int top;
  /** Side of the window. */
  int size;
};

/** Buffers that grow to the largest image seen; one a thread. */
struct ResampleScratch {
  std::vector<int> first_x, first_y, weights_x, weights_y;
  std::vector<uint8_t> columns, convolved, rows;
  std::vector<uint32_t> words;
};

/**
 * Bicubic resize as Pillow computes it, bit for bit: two passes, horizontal first, uint8 between them, 22-bit fixed-point weights that are
 * widened when the image shrinks. Only what the window needs is computed. Writes uint8 [3, size, size] to `target`; one channel is
 * written three times; pixels of the window outside the resized image are 0.
 */
void resample_bicubic(const uint8_t* source, const ResampleGeometry& geometry, uint8_t* target, ResampleScratch& scratch);

}  // namespace kuea::kernels
