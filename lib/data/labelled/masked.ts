import { stat } from 'node:fs/promises';
import { join } from 'node:path';

import { KueaError } from '../../errors.js';
import { checkImages } from '../conversations/preflight.js';
import { asUndecodable, decode, openImage, readImage } from '../images/decode.js';
import { listedImages, openImageFolder } from '../images/image-folder.js';
import { withImage } from '../images/in-work.js';
import { namingImage } from '../images/preprocess.js';
import { type ImageFormat, pngGrey } from '../images/sniff.js';
import type { EncodedSource, PixelSource } from '../images/source.js';
import { nearestSquare, resizeSquare } from './bilinear.js';
import { labelRows, type PatchLabels, patchLabels, rowBytes, stuffClass, stuffClasses } from './patch-labels.js';
import { fingerprintOf, type MaskedSet } from './sets.js';

export interface MaskedOptions {
  /** Side in pixels that the model takes, and of its patches. */
  size: number;
  patch: number;
  labels: PatchLabels;
  /** A folder below both, such as val2017. Default: none. */
  split?: string | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Opens COCO-Stuff's images and masks: of each image below `images` the mask is the PNG of the same name below `masks`, 8-bit grey, of the
 * same sides. Both are cut to the square in their centre; the image is resized bilinearly, the mask by the nearest pixel. Throws KueaError
 * `bad_argument`, `split_not_found`, `data_not_found`, `data_empty`, `missing_images`, and what listing a folder throws.
 */
export async function openMasks(folders: { images: string; masks: string }, options: MaskedOptions): Promise<MaskedSet> {
  const { size, patch, labels: rule, split } = options;
  if (!(patch >= 1 && size >= patch && size % patch === 0))
    throw new KueaError('bad_argument', `expected a size that is a multiple of the patch, found ${size} and ${patch}`);
  const images = await openImageFolder(await folderOf(folders.images, split));
  if (images.length === 0) throw new KueaError('data_empty', `expected images in ${folders.images}, found none`);
  const masks = await masksOf(images, await folderOf(folders.masks, split), options.signal);
  const pixels: PixelSource = {
    kind: 'pixels',
    size,
    length: images.length,
    name: (i) => images.name(i),
    fingerprint: fingerprintOf('centre squares', images, () => [`bilinear ${size}`]),
    copy: async (i, target, offset) => {
      const work = async (bytes: Uint8Array) => {
        const decoded = await decode(bytes);
        await resizeSquare(decoded, centreSquare(decoded), size, target, offset);
      };
      await withBytes(images, i, (bytes) => withImage(bytes, work));
    },
    close: () => images.close(),
  };
  return {
    images: pixels,
    classCount: stuffClasses,
    rows: labelRows(size, patch, rule),
    rowBytes,
    notes: [],
    labels: async (i) => {
      const sides = await withBytes(images, i, sidesOf);
      const work = (bytes: Uint8Array, format: ImageFormat) => readMask(bytes, format, sides);
      const mask = await withBytes(masks, i, (bytes) => withImage(bytes, work));
      return patchLabels(nearestSquare(mask, sides.width, centreSquare(sides), size), size, patch, rule);
    },
    fingerprint: fingerprintOf('masked images', images, async () => [await masks.fingerprint(), `${size} ${patch} ${rule}`]),
    close: async () => {
      await images.close();
      await masks.close();
    },
  };
}

/** What `f` makes of the bytes of image i, or what is wrong with them, by its name. */
async function withBytes<T>(source: EncodedSource, i: number, f: (bytes: Uint8Array) => Promise<T>): Promise<T> {
  try {
    return await f(await source.read(i));
  } catch (error) {
    return namingImage(source.name(i))(error);
  }
}

interface Sides {
  width: number;
  height: number;
}

/** The largest square in the centre; what is odd of the rest goes to the right and the bottom. */
function centreSquare({ width, height }: Sides): { left: number; top: number; side: number } {
  const side = Math.min(width, height);
  return { left: (width - side) >> 1, top: (height - side) >> 1, side };
}

async function sidesOf(image: Uint8Array): Promise<Sides> {
  const { bytes, format } = await readImage(image);
  return 'width' in format ? format : openImage(bytes).metadata();
}

async function readMask(bytes: Uint8Array, format: ImageFormat, { width, height }: Sides): Promise<Uint8Array> {
  if (format.format !== 'png' || format.colourType !== pngGrey || format.bitDepth !== 8)
    throw new KueaError('bad_labels', 'expected a mask as a PNG of 8-bit grey, found another image');
  if (format.width !== width || format.height !== height)
    throw new KueaError(
      'bad_labels',
      `expected a mask of the image's ${width} x ${height} pixels, found ${format.width} x ${format.height}`,
    );
  const data = await openImage(bytes)
    .toColourspace('b-w')
    .raw()
    .toBuffer()
    .catch((error: unknown) => {
      throw asUndecodable(error);
    });
  const strange = data.find((pixel) => stuffClass(pixel) >= stuffClasses);
  if (strange !== undefined)
    throw new KueaError('bad_labels', `expected 255 and 0 to ${stuffClasses - 2} in a mask of COCO-Stuff, found the pixel ${strange}`);
  return data;
}

async function folderOf(folder: string, split: string | undefined): Promise<string> {
  const own = split === undefined ? folder : join(folder, split);
  if ((await stat(own).catch(() => null))?.isDirectory()) return own;
  if (split === undefined) throw new KueaError('data_not_found', `expected a folder at ${folder}, found none`);
  throw new KueaError('split_not_found', `expected the folder ${split} in ${folder}, found none of that name`);
}

async function masksOf(images: EncodedSource, folder: string, signal: AbortSignal | undefined): Promise<EncodedSource> {
  const paths = Array.from({ length: images.length }, (_, i) => images.name(i).replace(/\.[^./]*$/, '.png'));
  const faults = await checkImages(folder, paths, { verify: false, concurrency: 64, signal });
  const first = paths.find((path) => faults.has(path));
  if (first === undefined) return listedImages(folder, paths);
  throw new KueaError(
    'missing_images',
    `expected a mask for each of ${paths.length} images in ${folder}, found ${faults.size} that cannot be used, such as ` +
      `${first} (${faults.get(first)!})`,
  );
}
