/** 'union': of each patch the classes in it, 'unlabeled' only where nothing else is. 'global-union': of the whole image all classes. */
export type PatchLabels = 'union' | 'global-union';

/** COCO-Stuff's classes: 0 unlabeled, 1 to 91 things, 92 to 182 stuff. */
export const stuffClasses = 183;
const unlabelled = 0;

/** Bytes of a row of labels: class c is bit c & 7 of byte c >> 3. */
export const rowBytes = Math.ceil(stuffClasses / 8);

/** Rows of labels of an image: one a patch, or one. */
export function labelRows(size: number, patch: number, rule: PatchLabels): number {
  return rule === 'union' ? (size / patch) ** 2 : 1;
}

/** The class of a pixel of COCO-Stuff's masks, in which 255 is unlabeled. */
export const stuffClass = (pixel: number): number => (pixel + 1) & 255;

/**
 * Reduces a mask of pixels, uint8 [size, size], to uint8 [rows, rowBytes] by patch-seg's rules. Patches go row by row; `size` is a
 * multiple of `patch`. Pixels of no class must have been refused.
 */
export function patchLabels(mask: Uint8Array, size: number, patch: number, rule: PatchLabels): Uint8Array {
  const side = rule === 'union' ? patch : size;
  const across = size / side;
  const labels = new Uint8Array(across * across * rowBytes);
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++) {
      const label = stuffClass(mask[y * size + x]!);
      const row = Math.trunc(y / side) * across + Math.trunc(x / side);
      labels[row * rowBytes + (label >> 3)]! |= 1 << (label & 7);
    }
  if (rule === 'union') for (let at = 0; at < labels.length; at += rowBytes) dropUnlabelled(labels.subarray(at, at + rowBytes));
  return labels;
}

function dropUnlabelled(row: Uint8Array): void {
  const bit = 1 << unlabelled;
  if (row.some((byte, i) => (i === 0 ? byte & ~bit : byte) !== 0)) row[0]! &= ~bit;
}
