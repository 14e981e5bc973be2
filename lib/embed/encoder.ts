import { preprocess } from '../data/images/preprocess.js';
import { KueaError } from '../errors.js';
import { type OpenWeightsOptions, openWeights } from '../models/open.js';
import type { NativeEncoder, Precision } from '../native/addon.js';
import { resolveDevice } from '../native/device.js';
import { loadAddon } from '../native/load.js';

export interface OpenEncoderOptions extends OpenWeightsOptions {
  /** Arithmetic of the blocks; weights and embeddings are fp32 in both. Default 'fp32'. */
  precision?: Precision;
  /** 'cpu' (the default), 'cuda' or 'cuda:N'. */
  device?: string;
  /** Images encoded at a time. Default 32. */
  batchSize?: number;
}

/** An open CLIP or DINOv2. Close it when done (`await using` does): its weights are outside the garbage collector's sight. */
export interface Encoder extends AsyncDisposable {
  /** Dimension of an embedding. */
  readonly dim: number;
  /** Side in pixels of the images as the model sees them. */
  readonly imageSize: number;
  /**
   * Embeddings of image files (paths) or encoded images (JPEG, PNG, WebP ... bytes), in the order given: fp32 [images.length, dim]
   * row-major, un-normalised; CLIP's projected CLS, or DINOv2's normed CLS. Rejects with KueaError `undecodable_image`, naming which one.
   */
  encodeImages(images: readonly (string | Uint8Array)[]): Promise<Float32Array>;
  /** Waits for what runs, then frees the model. Idempotent. */
  close(): Promise<void>;
}

/**
 * Opens a CLIP vision tower or a DINOv2 from a Hugging Face folder, a single file or a hub id. Images are preprocessed as the model's
 * preprocessor_config.json says, else shortest side to the model's size and centre crop, with Pillow's bicubic bit for bit.
 */
export async function openEncoder(ref: string, options: OpenEncoderOptions = {}): Promise<Encoder> {
  const { precision = 'fp32', device = 'cpu', batchSize = 32, ...weightsOptions } = options;
  if (!Number.isInteger(batchSize) || batchSize < 1)
    throw new KueaError('bad_option', `expected a whole number of at least 1 for batchSize, found ${batchSize}`);
  const weights = await openWeights(ref, weightsOptions);
  const { arch, mean, std, plan, preprocessing } = weights;
  const addon = loadAddon();
  const native = await addon.openEncoder({ arch, weights: plan, mean, std, precision, device: resolveDevice(device, addon.info()) });
  return new ImageEncoder(native, { ...preprocessing, mode: 'exact' }, batchSize);
}

class ImageEncoder implements Encoder {
  readonly dim: number;
  readonly imageSize: number;

  constructor(
    private readonly native: NativeEncoder,
    private readonly preprocessing: { resize: number; crop: number; mode: 'exact' },
    private readonly batchSize: number,
  ) {
    this.dim = native.dim;
    this.imageSize = preprocessing.crop;
  }

  async encodeImages(images: readonly (string | Uint8Array)[]): Promise<Float32Array> {
    const result = new Float32Array(images.length * this.dim);
    // The next batch is decoded while this one is encoded.
    let next = this.decode(images.slice(0, this.batchSize), 0);
    for (let start = 0; start < images.length; start += this.batchSize) {
      const pixels = await next;
      const end = start + this.batchSize;
      const encoded = this.native.encode(pixels, pixels.length / this.imageBytes, this.imageSize);
      next = this.decode(images.slice(end, end + this.batchSize), end);
      const [embeddings] = await Promise.all([encoded, next]);
      result.set(embeddings, start * this.dim);
    }
    return result;
  }

  private get imageBytes(): number {
    return 3 * this.imageSize * this.imageSize;
  }

  private async decode(images: readonly (string | Uint8Array)[], first: number): Promise<Uint8Array> {
    const pixels = new Uint8Array(images.length * this.imageBytes);
    await Promise.all(
      images.map(async (image, i) => {
        try {
          await preprocess(image, this.preprocessing, pixels, i * this.imageBytes);
        } catch (error) {
          const name = typeof image === 'string' ? image : `image ${first + i}`;
          if (error instanceof KueaError) throw new KueaError(error.code, `${name}: ${error.message}`, { cause: error });
          throw error;
        }
      }),
    );
    return pixels;
  }

  close(): Promise<void> {
    return this.native.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
