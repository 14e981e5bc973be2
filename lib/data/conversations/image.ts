import { inSlices } from '../concurrency.js';
import { decode, maxPixels, type Pixels } from '../images/decode.js';
import { withImage } from '../images/in-work.js';
import { cropTo, insane } from '../images/preprocess.js';

/**
 * What LLaVA does with an image before the tower sees it: 'pad' (image_aspect_ratio "pad") squares it first, 'crop' keeps the centre of its
 * shortest side.
 */
export interface ImageGeometry {
  /** Side in pixels that the tower takes. */
  size: number;
  aspect: 'pad' | 'crop';
}

/** int(mean * 255) of CLIP's mean colour, RGB. */
const padColour = [122, 116, 104] as const;

/** The image in the middle of a square of its longer side; what is odd of the border goes to the bottom or the right. */
async function padToSquare(pixels: Pixels): Promise<Pixels> {
  const { data, width, height, channels } = pixels;
  if (width === height) return pixels;
  const side = Math.max(width, height);
  if (side ** 2 > maxPixels) throw insane(pixels);
  const [left, top] = [Math.floor((side - width) / 2), Math.floor((side - height) / 2)];
  const square = new Uint8Array(side * side * 3);
  const border = new Uint8Array(side * 3).map((_, i) => padColour[i % 3]!);
  await inSlices(side, Math.ceil(2 ** 20 / side), (first, end) => {
    for (let y = first; y < end; y++) {
      square.set(border, y * side * 3);
      if (y < top || y >= top + height) continue;
      const row = data.subarray((y - top) * width * channels, (y - top + 1) * width * channels);
      const to = (y * side + left) * 3;
      if (channels === 3) square.set(row, to);
      else row.forEach((grey, x) => square.fill(grey, to + 3 * x, to + 3 * x + 3));
    }
  });
  return { data: square, width: side, height: side, channels: 3 };
}

/**
 * Decodes an image (its path, or its bytes) and writes it as LLaVA's processor gives it before normalisation, uint8 [3, size, size] (RGB
 * planes), into `target` at `offset`. Equal to Pillow's and Hugging Face's CLIPImageProcessor. Throws KueaError `undecodable_image`, also
 * for an image of more than `most` pixels. Images in work are bounded over the whole process: see `withImage`.
 */
export function prepareImage(
  image: string | Uint8Array,
  { size, aspect }: ImageGeometry,
  target: Uint8Array,
  offset = 0,
  most?: number,
): Promise<void> {
  const work = async (bytes: Uint8Array) => {
    const decoded = await decode(bytes);
    const pixels = aspect === 'pad' ? await padToSquare(decoded) : decoded;
    await cropTo(pixels, { resize: size, crop: size, centre: 'down' }, target, offset);
  };
  // Squared, a thin strip is as large as its longer side says.
  return withImage(image, work, most, aspect === 'pad' ? (width, height) => Math.max(width, height) ** 2 : undefined);
}
