import { decode, maxPixels, type Pixels } from '../images/decode.js';
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
function padToSquare(pixels: Pixels): Pixels {
  const { data, width, height, channels } = pixels;
  if (width === height) return pixels;
  const side = Math.max(width, height);
  if (side ** 2 > maxPixels) throw insane(pixels);
  const [left, top] = [Math.floor((side - width) / 2), Math.floor((side - height) / 2)];
  const square = new Uint8Array(side * side * 3);
  square.set(padColour);
  // Doubles what is filled until all is.
  for (let filled = 3; filled < square.length; filled *= 2) square.copyWithin(filled, 0, Math.min(filled, square.length - filled));
  for (let y = 0; y < height; y++) {
    const row = data.subarray(y * width * channels, (y + 1) * width * channels);
    const to = ((top + y) * side + left) * 3;
    if (channels === 3) square.set(row, to);
    else row.forEach((grey, x) => square.fill(grey, to + 3 * x, to + 3 * x + 3));
  }
  return { data: square, width: side, height: side, channels: 3 };
}

/**
 * Decodes an image (its path, or its bytes) and writes it as LLaVA's processor gives it before normalisation, uint8 [3, size, size] (RGB
 * planes), into `target` at `offset`. Equal to Pillow's and Hugging Face's CLIPImageProcessor. Throws KueaError `undecodable_image`.
 */
export async function prepareImage(
  image: string | Uint8Array,
  { size, aspect }: ImageGeometry,
  target: Uint8Array,
  offset = 0,
): Promise<void> {
  const decoded = await decode(image);
  const pixels = aspect === 'pad' ? padToSquare(decoded) : decoded;
  await cropTo(pixels, { resize: size, crop: size, centre: 'down' }, target, offset);
}
