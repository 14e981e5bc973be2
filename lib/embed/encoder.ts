import { z } from 'zod';

import { checkImages, checkRef, checkTexts, type ImageArgument } from '../config/arguments.js';
import { deviceOption, parseOptions } from '../config/options.js';
import { maxPixels } from '../data/images/decode.js';
import { namingImage, preprocess } from '../data/images/preprocess.js';
import { KueaError } from '../errors.js';
import { openWeights } from '../models/open.js';
import type { Arch, ClipVisionArch, NativeEncoder, Precision } from '../native/addon.js';
import { resolveDevice } from '../native/device.js';
import { Lifetime } from '../native/lifetime.js';
import { loadAddon } from '../native/load.js';
import { TextTower } from './texts.js';

export interface OpenEncoderOptions {
  /** What it has to be: a CLIP or a DINOv2. Default: either. */
  family?: Arch['family'] | undefined;
  /** Activation of a CLIP whose file does not say it. One that contradicts the file is refused. */
  activation?: ClipVisionArch['activation'] | undefined;
  /** Arithmetic of the blocks; weights and embeddings are fp32 in both. Default 'fp32'. */
  precision?: Precision | undefined;
  /** 'auto' (the default: a GPU where the build has CUDA and one is visible), 'cpu', 'cuda' or 'cuda:N'. */
  device?: string | undefined;
  /** Images, or texts, encoded at a time. Default 32. */
  batchSize?: number | undefined;
  /** Images of more pixels than this are refused as `undecodable_image`. Default, and at most: 178 956 970, as Pillow refuses them. */
  maxPixels?: number | undefined;
}

const schema = z.strictObject({
  family: z.enum(['clip', 'dinov2']).optional(),
  activation: z.enum(['quick_gelu', 'gelu']).optional(),
  precision: z.enum(['fp32', 'bf16']).default('fp32'),
  device: deviceOption,
  batchSize: z.int().positive().default(32),
  maxPixels: z.int().positive().max(maxPixels).default(maxPixels),
} satisfies Record<keyof OpenEncoderOptions, z.ZodType>);

export interface EncodeTextsOptions {
  /** Its abort ends the call after the batch that is being encoded; it rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

const textsSchema = z.strictObject({
  signal: z.custom<AbortSignal>((value) => value instanceof AbortSignal, 'expected an AbortSignal').optional(),
} satisfies Record<keyof EncodeTextsOptions, z.ZodType>);

/** An open CLIP or DINOv2. Close it when done (`await using` does): its weights are outside the garbage collector's sight. */
export interface Encoder extends AsyncDisposable {
  /** Dimension of an embedding. */
  readonly dim: number;
  /** Side in pixels of the images as the model sees them. */
  readonly imageSize: number;
  /**
   * What CLIP multiplies the cosines of images and texts with (about 100 for the published ones); null when the file does not say it.
   */
  readonly logitScale: number | null;
  /**
   * Embeddings of image files (paths) or encoded images (JPEG, PNG, WebP ... bytes), in the order given: fp32 [images.length, dim]
   * row-major, un-normalised; CLIP's projected CLS, or DINOv2's normed CLS. Calls may run side by side: how much of their images is in
   * memory at a time is bounded over all of them. Rejects with KueaError `bad_option`, `closed`, or `undecodable_image`, which names the
   * first that is.
   */
  encodeImages(images: readonly (string | Uint8Array)[]): Promise<Float32Array>;
  /**
   * Embeddings of texts in the order given: fp32 [texts.length, dim] row-major, un-normalised. Texts are cut as OpenAI's and open_clip's
   * tokenizers cut them; of a longer one than the model's context (77 tokens) the beginning counts. The text tower is opened by the first
   * call. Calls may run side by side. Rejects with KueaError `bad_option`, `unknown_option`, `closed`, `no_text_tower` (a DINOv2, a vision
   * tower alone), `origin_not_found` (a checkpoint has the text tower of what it was trained from), `tokenizer_not_found`,
   * `bad_tokenizer`, `unsupported_model`, and the signal's reason.
   */
  encodeTexts(texts: readonly string[], options?: EncodeTextsOptions): Promise<Float32Array>;
  /** Waits for the calls that run, then frees the model; later calls reject with KueaError `closed`. Idempotent. */
  close(): Promise<void>;
}

/**
 * Opens a CLIP vision tower or a DINOv2 from a Hugging Face folder, a single file or a hub id. Images are preprocessed as the model's
 * preprocessor_config.json says, else shortest side to the model's size and centre crop, with Pillow's bicubic bit for bit. Throws
 * KueaError: `bad_option`, `unknown_option`, `no_device`, and what openWeights throws.
 */
export async function openEncoder(ref: string, options: OpenEncoderOptions = {}): Promise<Encoder> {
  const { family, precision, device, batchSize, maxPixels: most, ...weightsOptions } = parseOptions(schema, options);
  const weights = await openWeights(checkRef(ref), weightsOptions);
  const { arch, mean, std, plan, preprocessing, logitScale, kind } = weights;
  if (family && arch.family !== family)
    throw new KueaError('wrong_family', `expected an encoder of the family ${family} in ${ref}, found ${kind.name}`);
  const addon = loadAddon();
  const place = { precision, device: resolveDevice(device, addon.info()) };
  const native = await addon.openEncoder({ arch, weights: plan, mean, std, ...place });
  return new OpenEncoder(
    native,
    () => TextTower.open(weights, addon, { ...place, batchSize }),
    logitScale === null ? null : Math.exp(logitScale),
    { ...preprocessing, mode: 'exact' },
    batchSize,
    most,
  );
}

class OpenEncoder implements Encoder {
  readonly dim: number;
  readonly imageSize: number;
  private readonly lifetime: Lifetime;
  private textTower: Promise<TextTower> | undefined;

  constructor(
    private readonly native: NativeEncoder,
    private readonly openTextTower: () => Promise<TextTower>,
    readonly logitScale: number | null,
    private readonly preprocessing: { resize: number; crop: number; mode: 'exact' },
    private readonly batchSize: number,
    private readonly maxPixels: number,
  ) {
    this.dim = native.dim;
    this.imageSize = preprocessing.crop;
    this.lifetime = new Lifetime('encoder', async () => {
      await (await this.textTower)?.close();
      await native.close();
    });
  }

  async encodeTexts(texts: readonly string[], options: EncodeTextsOptions = {}): Promise<Float32Array> {
    const checked = checkTexts(texts);
    const { signal } = parseOptions(textsSchema, options);
    return this.lifetime.run(async () => {
      signal?.throwIfAborted();
      // What cannot be opened now may be there for the next call.
      this.textTower ??= this.openTextTower().catch((error: unknown) => {
        this.textTower = undefined;
        throw error;
      });
      return (await this.textTower).encode(checked, signal);
    });
  }

  async encodeImages(images: readonly ImageArgument[]): Promise<Float32Array> {
    const checked = checkImages(images);
    return this.lifetime.run(() => this.encode(checked));
  }

  private async encode(images: readonly ImageArgument[]): Promise<Float32Array> {
    const result = new Float32Array(images.length * this.dim);
    let pixels = await this.decode(images, 0);
    for (let start = 0; start < images.length; start += this.batchSize) {
      // The next batch is decoded while this one is encoded. Both end before the call does, whatever fails: close() waits for them.
      const [encoded, decoded] = await Promise.allSettled([
        this.native.encode(pixels, pixels.length / this.imageBytes, this.imageSize),
        this.decode(images, start + this.batchSize),
      ]);
      if (encoded.status === 'rejected') throw encoded.reason;
      if (decoded.status === 'rejected') throw decoded.reason;
      result.set(encoded.value, start * this.dim);
      pixels = decoded.value;
    }
    return result;
  }

  private get imageBytes(): number {
    return 3 * this.imageSize * this.imageSize;
  }

  /** Pixels of the batch that begins at image `start`: uint8 [n, 3, imageSize, imageSize]. */
  private async decode(images: readonly ImageArgument[], start: number): Promise<Uint8Array> {
    const batch = images.slice(start, start + this.batchSize);
    const pixels = new Uint8Array(batch.length * this.imageBytes);
    const settled = await Promise.allSettled(
      batch.map((image, i) =>
        preprocess(image, this.preprocessing, pixels, i * this.imageBytes, this.maxPixels).catch(
          namingImage(typeof image === 'string' ? image : `image ${start + i}`),
        ),
      ),
    );
    for (const one of settled) if (one.status === 'rejected') throw one.reason;
    return pixels;
  }

  close(): Promise<void> {
    return this.lifetime.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
