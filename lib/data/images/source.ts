/** A set of images in a fixed order. Row i of a frozen-embedding cache is image i of its source. */
interface SourceBase {
  readonly length: number;
  /** Name of image i, for people: relative to the source. */
  name(i: number): string;
  /** Hex SHA-256 that changes when the list of images does; each kind says what it covers. */
  fingerprint(): Promise<string>;
  close(): Promise<void>;
}

/** Encoded images: JPEG, PNG and so on. */
export interface EncodedSource extends SourceBase {
  readonly kind: 'folder' | 'tar';
  /** The encoded bytes of image i. Rejects with KueaError `undecodable_image` when they cannot be read. */
  read(i: number): Promise<Uint8Array>;
}

/** Pixels that are ready: no decoding, no resampling. */
export interface PixelSource extends SourceBase {
  readonly kind: 'pixels';
  /** Side in pixels. */
  readonly size: number;
  /** Copies uint8 [3, size, size] of image i into `target` at `offset`. */
  copy(i: number, target: Uint8Array, offset: number): Promise<void>;
}

export type Source = EncodedSource | PixelSource;

/** torchvision's IMG_EXTENSIONS, in lower case: what counts as an image in a listing. Its bytes decide how it is decoded. */
export const imageExtensions: readonly string[] = ['jpg', 'jpeg', 'png', 'ppm', 'bmp', 'pgm', 'tif', 'tiff', 'webp'];
