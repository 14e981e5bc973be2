/** What happens to an image before a model sees it: shortest side to `resize` pixels, then the centre `crop` x `crop` window. */
export interface Preprocessing {
  resize: number;
  crop: number;
  /** 'exact' gives Pillow's bicubic bit for bit, 'fast' libvips's (JPEGs may be decoded at reduced size). */
  mode: 'exact' | 'fast';
  /**
   * Where the window lies when it cannot be centred: 'even' rounds halves to even as torchvision does (default), 'down' as Hugging Face
   * does.
   */
  centre?: 'even' | 'down';
}

/** The resize of a whole image and the window of it that is kept; the geometry part of a ResampleTask. */
export interface Window {
  resizedWidth: number;
  resizedHeight: number;
  left: number;
  top: number;
  size: number;
}

/** Python's round(): halves to even. */
function roundHalfEven(value: number): number {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}

/**
 * torchvision's (and open_clip's) Resize(shortest side) and CenterCrop: the longer side is int(resize * long / short), truncated; the
 * window starts at round((side - crop) / 2), which is negative when it is larger than the resized image.
 */
export function cropWindow(width: number, height: number, { resize, crop, centre = 'even' }: Omit<Preprocessing, 'mode'>): Window {
  const longer = Math.trunc((resize * Math.max(width, height)) / Math.min(width, height));
  const resizedWidth = width <= height ? resize : longer;
  const resizedHeight = width <= height ? longer : resize;
  const start = (side: number) => (centre === 'even' ? roundHalfEven((side - crop) / 2) : Math.floor((side - crop) / 2));
  return { resizedWidth, resizedHeight, left: start(resizedWidth), top: start(resizedHeight), size: crop };
}
