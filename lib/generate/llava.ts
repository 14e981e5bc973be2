import { type ImageGeometry, prepareImage } from '../data/conversations/image.js';
import { KueaError } from '../errors.js';
import { type OpenLlavaOptions as OpenWeightsOptions, openLlava as openWeights } from '../models/llava/open.js';
import type { BasePrecision, NativeLlava, Precision } from '../native/addon.js';
import { resolveDevice } from '../native/device.js';
import { loadAddon } from '../native/load.js';
import { openTokenizer, type TextTokenizer } from '../text/tokenizer.js';
import { encodePrompt, spliceImages } from '../text/vicuna.js';

export interface OpenLlavaOptions extends OpenWeightsOptions {
  /** Arithmetic. Default 'bf16'. */
  precision?: Precision;
  /** How the weights are kept; nf4: 4 bits a number. Default: that of `precision`. */
  basePrecision?: BasePrecision;
  /** Default 'cpu'. */
  device?: string;
}

export interface GenerateRequest {
  question: string;
  /** Path, or encoded bytes (JPEG, PNG, WebP ...). Default: a question about no image. */
  image?: string | Uint8Array;
  /** Default 512. */
  maxNewTokens?: number;
  /** False leaves out the sentence that opens every conversation of vicuna_v1. Default true. */
  system?: boolean;
  signal?: AbortSignal;
}

/** An open LLaVA. Close it when done (`await using` does): its weights are outside the garbage collector's sight. */
export interface Llava extends AsyncDisposable {
  /** Side in pixels of an image as the tower sees it. */
  readonly imageSize: number;
  /**
   * The answer, greedily, in pieces as they become certain: whole characters alone. One at a time: a second call waits for the first to be
   * read to its end or left. Throws KueaError `undecodable_image`, `bad_prompt`, and the signal's reason.
   */
  generate(request: GenerateRequest): AsyncIterable<string>;
  /** Waits for what runs, then frees the model. Idempotent. */
  close(): Promise<void>;
}

/**
 * Opens a LLaVA-1.5 for generation, with or without an adapter: `ref` and the options are those of kuea-lora's --model and its like. Throws
 * KueaError when weights, adapter or tokenizer are not what they should be.
 */
export async function openLlava(ref: string, options: OpenLlavaOptions = {}): Promise<Llava> {
  const { precision = 'bf16', basePrecision = precision, device = 'cpu', ...where } = options;
  const { model, adapter, folder, image, patches } = await openWeights(ref, where);
  const tokenizer = await openTokenizer(folder);
  const lora = adapter && { rank: adapter.rank, alpha: adapter.alpha, weights: adapter.weights, seed: 0 };
  const addon = loadAddon();
  const native = await addon.openLlava({ ...model, basePrecision, precision, lora, device: resolveDevice(device, addon.info()) });
  return new Assistant(native, tokenizer, image, patches);
}

class Assistant implements Llava {
  /** Resolves when the generation before has ended: the addon has one sequence. */
  private turn: Promise<void> = Promise.resolve();

  constructor(
    private readonly native: NativeLlava,
    private readonly tokenizer: TextTokenizer,
    private readonly geometry: ImageGeometry,
    private readonly patches: number,
  ) {}

  get imageSize(): number {
    return this.geometry.size;
  }

  async *generate({ question, image, maxNewTokens = 512, system = true, signal }: GenerateRequest): AsyncGenerator<string, void, void> {
    if (!Number.isInteger(maxNewTokens) || maxNewTokens < 1)
      throw new KueaError('bad_option', `expected a whole number of at least 1 for maxNewTokens, found ${maxNewTokens}`);
    const { size } = this.geometry;
    const before = this.turn;
    let end = () => {};
    this.turn = new Promise((resolve) => (end = resolve));
    try {
      await before;
      const pixels = new Uint8Array(image === undefined ? 0 : 3 * size * size);
      if (image !== undefined) await prepareImage(image, this.geometry, pixels);
      const { tokens, imageRows } = spliceImages(
        encodePrompt(this.tokenizer, question, { image: image !== undefined, system }),
        this.patches,
      );
      const text = this.tokenizer.stream();
      signal?.throwIfAborted();
      let token = await this.native.prefill({ tokens, imageRows, pixels, images: image === undefined ? 0 : 1 });
      for (let made = 1; token !== this.tokenizer.eos; made++) {
        const piece = text.push(token);
        if (piece !== '') yield piece;
        if (made === maxNewTokens) break;
        signal?.throwIfAborted();
        token = await this.native.next(token);
      }
      const rest = text.end();
      if (rest !== '') yield rest;
    } finally {
      end();
    }
  }

  close(): Promise<void> {
    return this.native.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
