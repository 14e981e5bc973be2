import type { Sharp } from 'sharp';

import { KueaError } from '../../errors.js';
import { loadAddon } from '../../native/load.js';
import { asUndecodable, decode, openImage, type Pixels } from './decode.js';
import { cropWindow, type Preprocessing, type Window } from './geometry.js';
import { withImage } from './in-work.js';
import type { ImageFormat } from './sniff.js';

/** The kernel counts pixels along a side in 32 bits. */
const longestSide = 2 ** 31 - 1;

/**
 * Decodes an image (its path, or its bytes), resizes its shortest side and crops its centre, and writes uint8 [3, crop, crop] (RGB planes)
 * into `target` at `offset`. Throws KueaError `undecodable_image`, also for an image of more than `most` pixels. In exact mode the result
 * equals Pillow's and torchvision's. Images in work are bounded over the whole process: see `withImage`.
 */
export function preprocess(
  image: string | Uint8Array,
  preprocessing: Preprocessing,
  target: Uint8Array,
  offset = 0,
  most?: number,
): Promise<void> {
  const work = async (bytes: Uint8Array, format: ImageFormat) => {
    if (preprocessing.mode === 'fast' && isPlain(format) && preprocessing.crop <= preprocessing.resize)
      return fast(bytes, preprocessing, target, offset);
    await cropTo(await decode(bytes), preprocessing, target, offset);
  };
  return withImage(image, work, most);
}

/**
 * Pillow's resize of decoded pixels and the crop, as uint8 [3, crop, crop]. Throws KueaError `undecodable_image` for a strip too long to be
 * resized.
 */
export async function cropTo(
  pixels: Pixels,
  preprocessing: Omit<Preprocessing, 'mode'>,
  target: Uint8Array,
  offset: number,
): Promise<void> {
  const window = cropWindow(pixels.width, pixels.height, preprocessing);
  if (Math.max(window.resizedWidth, window.resizedHeight) > longestSide) throw insane(pixels);
  await resample(pixels, window, target, offset);
}

/** Puts an image's name before what is wrong with it: a rejection handler. */
export function namingImage(name: string): (error: unknown) => never {
  return (error) => {
    throw error instanceof KueaError ? new KueaError(error.code, `${name}: ${error.message}`, { cause: error }) : error;
  };
}

/** The error for an image of which one side is out of all proportion. */
export function insane({ width, height }: Pixels): KueaError {
  return new KueaError('undecodable_image', `expected an image of sane proportions, found ${width} x ${height} pixels`);
}

function resample({ data: source, width, height, channels }: Pixels, window: Window, target: Uint8Array, offset: number): Promise<void> {
  return loadAddon().resample({ source, width, height, channels, ...window, target, offset });
}

/** Whether sharp's pipeline alone gives RGB as Pillow does; CMYK and 16-bit images take the exact way in both modes. */
function isPlain(format: ImageFormat): boolean {
  return (
    (format.format === 'jpeg' && format.components !== 4) || (format.format === 'png' && format.bitDepth <= 8) || format.format === 'webp'
  );
}

/**
 * libvips's own resize, from a JPEG decoded at 1/2, 1/4 or 1/8 where that suffices: pays for images several times the model's size. Reduced
 * JPEGs and enlargements may be sampled a fraction of a pixel beside the exact place.
 */
async function fast(bytes: Uint8Array, preprocessing: Preprocessing, target: Uint8Array, offset: number): Promise<void> {
  let pixels: Pixels;
  try {
    const { width, height } = await openImage(bytes).metadata();
    const { resizedWidth, resizedHeight, left, top, size } = cropWindow(width, height, preprocessing);
    const pipeline: Sharp = openImage(bytes)
      .resize(resizedWidth, resizedHeight, { kernel: 'cubic', fit: 'fill' })
      .extract({ left, top, width: size, height: size });
    const { data, info } = await pipeline.removeAlpha().toColourspace('srgb').raw().toBuffer({ resolveWithObject: true });
    pixels = { data, width: info.width, height: info.height, channels: info.channels as 1 | 3 };
  } catch (error) {
    throw asUndecodable(error);
  }
  // At its own size this only takes the channels apart, on the libuv pool.
  const size = preprocessing.crop;
  await resample(pixels, { resizedWidth: size, resizedHeight: size, left: 0, top: 0, size }, target, offset);
}
