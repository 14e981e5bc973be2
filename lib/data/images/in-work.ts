import { defaultConcurrency, Limiter } from '../concurrency.js';
import { maxPixels, openImage, readImage, undecodable } from './decode.js';
import type { ImageFormat } from './sniff.js';

/**
 * Pixels that may be in memory decoded, over all callers of this process: one image of the largest size, or a photo of 16 megapixels for
 * each that is in work.
 */
export const pixelsInWork = (images: number) => Math.max(maxPixels, images * 2 ** 24);

let limits: { images: Limiter; pixels: Limiter } | undefined;

/** Made at the first image: the size of the libuv pool is not fixed before. */
function processLimits(): { images: Limiter; pixels: Limiter } {
  if (limits) return limits;
  const images = defaultConcurrency();
  limits = { images: new Limiter(images), pixels: new Limiter(pixelsInWork(images)) };
  return limits;
}

/** Sides of an image by its header; 0 when that is damaged, which decoding will say. */
async function sidesOf(bytes: Uint8Array, format: ImageFormat): Promise<{ width: number; height: number }> {
  // JPEG and PNG, nearly all images, need no second pass through sharp.
  if ('width' in format) return format;
  return openImage(bytes)
    .metadata()
    .catch(() => ({ width: 0, height: 0 }));
}

/**
 * Reads an image (its path, or its bytes) and calls `work`, which decodes it and drops its pixels, when there is room for them: images and
 * pixels in work are bounded over the whole process, whoever asks. `roomOf` says for how many pixels, where `work` makes more of them.
 * Throws KueaError `undecodable_image`, also for an image of more than `most` pixels.
 */
export function withImage<T>(
  image: string | Uint8Array,
  work: (bytes: Uint8Array, format: ImageFormat) => Promise<T>,
  most = maxPixels,
  roomOf = (width: number, height: number) => width * height,
): Promise<T> {
  const { images, pixels } = processLimits();
  return images.run(async () => {
    const { bytes, format } = await readImage(image);
    const { width, height } = await sidesOf(bytes, format);
    if (width * height > most)
      throw undecodable(`found one of ${width} x ${height} pixels, more than ${most}, the limit against decompression bombs`);
    return pixels.run(() => work(bytes, format), roomOf(width, height));
  });
}
