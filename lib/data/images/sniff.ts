/** What the first bytes of a file say that it is, whatever its name says. Formats that sharp cannot decode are named for the error. */
export type ImageFormat =
  | { format: 'jpeg'; components: number; width: number; height: number }
  | { format: 'png'; bitDepth: number; colourType: number; width: number; height: number }
  | { format: 'webp' }
  | { format: 'gif' }
  | { format: 'tiff' }
  | { format: 'unsupported'; name: string };

/** PNG colour type of a greyscale image without alpha. */
export const pngGrey = 0;

const unsupported: [name: string, magic: string][] = [
  ['a BMP', 'BM'],
  ['a PNM', 'P5'],
  ['a PNM', 'P6'],
  ['a Photoshop file', '8BPS'],
  ['a gzip file', '\x1f\x8b'],
  ['a PDF', '%PDF'],
];

/** Bytes of a JPEG in which its frame header must begin: cameras put some hundred kB before it. */
const farthestFrame = 1 << 26;

/** What a JPEG's frame header says: components (1 grey, 3 colour, 4 CMYK) and sides in pixels; all 0 when there is none. */
function jpegFrame(whole: Uint8Array): { components: number; width: number; height: number } {
  const bytes = whole.subarray(0, farthestFrame);
  let at = 2;
  while (at + 9 < bytes.length) {
    if (bytes[at] !== 0xff) {
      const next = bytes.indexOf(0xff, at);
      if (next < 0) break;
      at = next;
      continue;
    }
    const marker = bytes[at + 1]!;
    // SOF0 to SOF15, without DHT (c4), JPG (c8) and DAC (cc), which share the range.
    if (marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc) {
      const word = (i: number) => (bytes[at + i]! << 8) | bytes[at + i + 1]!;
      return { components: bytes[at + 9]!, width: word(7), height: word(5) };
    }
    // Fill bytes and markers without a segment.
    if (marker === 0xff) at += 1;
    else if (marker === 0x00 || marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8)) at += 2;
    else at += 2 + ((bytes[at + 2]! << 8) | bytes[at + 3]!);
  }
  return { components: 0, width: 0, height: 0 };
}

/** What a PNG's header says. */
function pngHeader(bytes: Uint8Array): { bitDepth: number; colourType: number; width: number; height: number } {
  const word = (at: number) => [0, 1, 2, 3].reduce((value, i) => value * 256 + (bytes[at + i] ?? 0), 0);
  return { bitDepth: bytes[24] ?? 0, colourType: bytes[25] ?? 0, width: word(16), height: word(20) };
}

/** Recognises an image by its first bytes; undefined when they are of no format known here. */
export function sniff(bytes: Uint8Array): ImageFormat | undefined {
  const start = (magic: string, at = 0) =>
    bytes.length >= at + magic.length && [...magic].every((c, i) => bytes[at + i] === c.charCodeAt(0));
  if (start('\xff\xd8\xff')) return { format: 'jpeg', ...jpegFrame(bytes) };
  if (start('\x89PNG\r\n\x1a\n')) return { format: 'png', ...pngHeader(bytes) };
  if (start('RIFF') && start('WEBP', 8)) return { format: 'webp' };
  if (start('GIF8')) return { format: 'gif' };
  if (start('II*\0') || start('MM\0*')) return { format: 'tiff' };
  const found = unsupported.find(([, magic]) => start(magic));
  return found && { format: 'unsupported', name: found[0] };
}
