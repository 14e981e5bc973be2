import sharp, { type Sharp, type SharpOptions } from 'sharp';

import { KueaError, reason } from '../../errors.js';
import { readRegular, UnfitFile } from '../../regular-file.js';
import { inSlices } from '../concurrency.js';
import { type ImageFormat, pngGrey, sniff } from './sniff.js';

/** Decoded image: uint8 [height, width, channels]. Grey images may stay at one channel, which stands for three equal ones. */
export interface Pixels {
  data: Uint8Array;
  width: number;
  height: number;
  channels: 1 | 3;
}

/** Pixels that are converted here between two turns of the event loop: some milliseconds. */
const slice = 2 ** 20;

/** Images of more pixels are refused, as Pillow refuses them (twice its MAX_IMAGE_PIXELS). */
export const maxPixels = 178_956_970;

/**
 * Faults that Pillow overlooks (bytes before a marker, junk after the end) are overlooked; missing pixels are not. Orientation and ICC
 * profile are ignored.
 */
const sharpOptions: SharpOptions = { failOn: 'error', ignoreIcc: true, sequentialRead: true, limitInputPixels: maxPixels };

/** Bytes of an encoded image at most: those of so many pixels that are not compressed, and what stands around them. */
export const largestImage = 3 * maxPixels + (1 << 24);

/** A sharp pipeline on encoded bytes, with the options under which its pixels equal Pillow's. */
export function openImage(bytes: Uint8Array): Sharp {
  return sharp(bytes, sharpOptions);
}

/** The bytes of an encoded image and what they are. Throws KueaError `undecodable_image` when there are none, or they are no image. */
export async function readImage(image: string | Uint8Array): Promise<{ bytes: Uint8Array; format: ImageFormat }> {
  const bytes = typeof image === 'string' ? await readRegular(image, largestImage).catch(unreadable) : image;
  if (bytes.length === 0) throw undecodable('found an empty file');
  const format = sniff(bytes);
  if (!format) throw undecodable(`found a file that starts with ${JSON.stringify(Buffer.from(bytes.subarray(0, 12)).toString('latin1'))}`);
  if (format.format === 'unsupported') throw undecodable(`found ${format.name}`);
  // libjpeg would look for its frame for as long as there are bytes.
  if (format.format === 'jpeg' && format.components === 0) throw undecodable('found a JPEG without a frame');
  return { bytes, format };
}

/**
 * Decodes an image (its path, or its bytes) to the pixels of Pillow's `Image.open(f).convert("RGB")` (compared with Pillow 12.3): the
 * format comes from the first bytes, alpha is dropped and not composited, 16-bit grey is clipped at 255 and other 16-bit samples keep their
 * high byte, CMYK goes through Pillow's formula, EXIF orientation and ICC profiles are ignored, the first frame of an animation is taken.
 * Throws KueaError `undecodable_image` for anything else, truncated images and images of more than `maxPixels` included.
 */
export async function decode(image: string | Uint8Array): Promise<Pixels> {
  const { bytes, format } = await readImage(image);
  try {
    return await decodeAs(bytes, format);
  } catch (error) {
    throw asUndecodable(error);
  }
}

async function decodeAs(bytes: Uint8Array, format: ImageFormat): Promise<Pixels> {
  if (format.format === 'jpeg' && format.components === 1) return raw(openImage(bytes).toColourspace('b-w'));
  if (format.format === 'jpeg' && format.components === 4) return cmyk(bytes);
  if (format.format === 'png' && format.bitDepth === 16 && format.colourType === pngGrey) return grey16(bytes);
  if (format.format === 'tiff') await checkTiff(bytes);
  return raw(openImage(format.format === 'gif' ? withoutTransparency(bytes) : bytes));
}

async function raw(pipeline: Sharp): Promise<Pixels> {
  const { data, info } = await pipeline.removeAlpha().raw().toBuffer({ resolveWithObject: true });
  return { data, width: info.width, height: info.height, channels: info.channels as 1 | 3 };
}

/**
 * Pillow's CMYK to RGB: ink times (255 - K) with its division by 255, no profile. libvips has already undone Adobe's inversion and YCCK.
 */
async function cmyk(bytes: Uint8Array): Promise<Pixels> {
  const { data, info } = await openImage(bytes)
    .pipelineColourspace('cmyk')
    .toColourspace('cmyk')
    .raw()
    .toBuffer({ resolveWithObject: true });
  const count = info.width * info.height;
  const pixels = new Uint8Array(count * 3);
  await inSlices(count, slice, (first, end) => {
    for (let from = 4 * first, to = 3 * first; from < 4 * end; from += 4) {
      const light = 255 - data[from + 3]!;
      for (let c = 0; c < 3; c++) {
        const product = data[from + c]! * light + 128;
        pixels[to++] = Math.max(0, light - (((product >> 8) + product) >> 8));
      }
    }
  });
  return { data: pixels, width: info.width, height: info.height, channels: 3 };
}

/** 16-bit grey: Pillow's mode I;16, which convert("RGB") clips. */
async function grey16(bytes: Uint8Array): Promise<Pixels> {
  const { data, info } = await openImage(bytes)
    .removeAlpha()
    .toColourspace('grey16')
    .raw({ depth: 'ushort' })
    .toBuffer({ resolveWithObject: true });
  const samples = new Uint16Array(data.buffer, data.byteOffset, info.width * info.height);
  const pixels = new Uint8Array(samples.length);
  await inSlices(samples.length, slice, (from, to) => {
    for (let i = from; i < to; i++) pixels[i] = Math.min(samples[i]!, 255);
  });
  return { data: pixels, width: info.width, height: info.height, channels: 1 };
}

/** Only TIFFs whose pixels are known to equal Pillow's: 8 bits, grey or RGB. */
async function checkTiff(bytes: Uint8Array): Promise<void> {
  const { space, depth } = await openImage(bytes).metadata();
  if (depth !== 'uchar' || (space !== 'srgb' && space !== 'b-w'))
    throw undecodable(`found a TIFF of ${depth} ${space} pixels (8-bit grey and RGB are read)`);
}

/** A copy of a GIF in which no colour of the first frame is transparent: Pillow keeps the colour, libvips would clear it. */
function withoutTransparency(gif: Uint8Array): Uint8Array {
  const bytes = gif.slice();
  const tableSize = (flags: number) => (flags & 0x80 ? 3 << ((flags & 7) + 1) : 0);
  let at = 13 + tableSize(bytes[10] ?? 0);
  // Extensions (0x21) before the first image: label, then blocks up to an empty one.
  while (bytes[at] === 0x21) {
    if (bytes[at + 1] === 0xf9) bytes[at + 3] = bytes[at + 3]! & ~1;
    at += 2;
    while (bytes[at]) at += bytes[at]! + 1;
    at++;
  }
  return bytes;
}

/** The error for an image that cannot be decoded, or is not to be. */
export function undecodable(found: string, cause?: unknown): KueaError {
  return new KueaError('undecodable_image', `expected an image that can be decoded (JPEG, PNG, WebP, GIF, TIFF), ${found}`, { cause });
}

/** Whatever went wrong with an image, as one sentence with code `undecodable_image`. */
export function asUndecodable(error: unknown): KueaError {
  if (error instanceof KueaError) return error;
  const message = (error as Error).message;
  if (/exceeds pixel limit/.test(message))
    return undecodable(`found one of more than ${maxPixels} pixels, the limit against decompression bombs`, error);
  // libvips appends its log, a line a complaint.
  return undecodable(
    `found a damaged one (${reason(message.replace(/^Input (buffer|file) has corrupt header:\s*/, '').split('\n')[0])})`,
    error,
  );
}

/** Why a file could not be read, as `undecodable_image`. */
export function unreadable(error: unknown): never {
  if (error instanceof UnfitFile) throw undecodable(`found ${error.found}`, error);
  const cause = (error as Error).cause ?? error;
  if ((cause as NodeJS.ErrnoException).code === 'ENOENT') throw undecodable('found no such file', error);
  throw undecodable(`found a file that cannot be read (${reason(cause)})`, error);
}
