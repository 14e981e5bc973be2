import { z } from 'zod';

import { checkRef, imageArgument } from '../config/arguments.js';
import { deviceOption, parseOptions } from '../config/options.js';
import { Limiter } from '../data/concurrency.js';
import { type ImageGeometry, prepareImage } from '../data/conversations/image.js';
import { maxPixels } from '../data/images/decode.js';
import { namingImage } from '../data/images/preprocess.js';
import { KueaError } from '../errors.js';
import { type OpenLlavaOptions as OpenWeightsOptions, openLlava as openWeights } from '../models/llava/open.js';
import type { BasePrecision, NativeLlava, Precision } from '../native/addon.js';
import { resolveDevice } from '../native/device.js';
import { Lifetime } from '../native/lifetime.js';
import { loadAddon } from '../native/load.js';
import { EventStream } from '../run/event-stream.js';
import { openTokenizer, type TextTokenizer } from '../text/tokenizer.js';
import { encodePrompt, spliceImages } from '../text/vicuna.js';

export interface OpenLlavaOptions extends OpenWeightsOptions {
  /** Arithmetic. Default 'bf16'. */
  precision?: Precision | undefined;
  /** How the weights are kept; nf4: 4 bits a number. Default: that of `precision`. */
  basePrecision?: BasePrecision | undefined;
  /** 'auto' (the default: a GPU where the build has CUDA and one is visible), 'cpu', 'cuda' or 'cuda:N'. */
  device?: string | undefined;
  /** Images of more pixels than this are refused as `undecodable_image`. Default, and at most: 178 956 970, as Pillow refuses them. */
  maxPixels?: number | undefined;
}

const path = z.string().min(1).optional();

const openSchema = z.strictObject({
  visionTower: path,
  activation: z.enum(['quick_gelu', 'gelu']).optional(),
  projector: path,
  adapter: path,
  feature: z.enum(['hidden', 'ln_post']).optional(),
  anyBase: z.boolean().optional(),
  precision: z.enum(['fp32', 'bf16']).default('bf16'),
  basePrecision: z.enum(['fp32', 'bf16', 'fp16', 'nf4']).optional(),
  device: deviceOption,
  maxPixels: z.int().positive().max(maxPixels).default(maxPixels),
} satisfies Record<keyof OpenLlavaOptions, z.ZodType>);

export interface GenerateRequest {
  question: string;
  /** Path, or encoded bytes (JPEG, PNG, WebP ...). Default: a question about no image. */
  image?: string | Uint8Array | undefined;
  /** The answer ends there, or where the model's context does. Default 512. */
  maxNewTokens?: number | undefined;
  /** False leaves out the sentence that opens every conversation of vicuna_v1. Default true. */
  system?: boolean | undefined;
  /** Its abort ends the answer at once; the model is free for the next as soon as the token that is being computed is. */
  signal?: AbortSignal | undefined;
}

const requestSchema = z.strictObject({
  question: z.string().meta({ help: 'what to ask' }),
  image: imageArgument.optional(),
  maxNewTokens: z.int().positive().default(512),
  system: z.boolean().default(true),
  signal: z.custom<AbortSignal>((value) => value instanceof AbortSignal, 'expected an AbortSignal').optional(),
} satisfies Record<keyof GenerateRequest, z.ZodType>);

type Request = z.output<typeof requestSchema>;

/** An open LLaVA. Close it when done (`await using` does): its weights are outside the garbage collector's sight. */
export interface Llava extends AsyncDisposable {
  /** Side in pixels of an image as the tower sees it. */
  readonly imageSize: number;
  /**
   * The answer, greedily, in pieces as they become certain: whole characters alone. Answers are made one after the other, in the order in
   * which their first piece is asked for. One is made to its end whether or not its pieces are read, so that a slow reader holds up no
   * other; leaving the loop or aborting ends it. Throws KueaError `bad_option`, `unknown_option` or `missing_option` at once; the iteration
   * throws KueaError `closed`, `undecodable_image`, `bad_prompt` (the question is empty, names several images, or leaves no room in the
   * model's context), and the signal's reason.
   */
  generate(request: GenerateRequest): AsyncGenerator<string, void, void>;
  /** Waits for the answers under way, then frees the model; later questions reject with KueaError `closed`. Idempotent. */
  close(): Promise<void>;
}

/**
 * Opens a LLaVA-1.5 for generation, with or without an adapter: `ref` and the options are those of kuea-lora's --model and its like. Throws
 * KueaError `bad_option`, `unknown_option`, `no_device`, and when weights, adapter or tokenizer are not what they should be.
 */
export async function openLlava(ref: string, options: OpenLlavaOptions = {}): Promise<Llava> {
  const { precision, basePrecision = precision, device, maxPixels: most, ...where } = parseOptions(openSchema, options);
  const { model, adapter, folder, image, patches, context } = await openWeights(checkRef(ref), where);
  const tokenizer = await openTokenizer(folder);
  const lora = adapter && { rank: adapter.rank, alpha: adapter.alpha, weights: adapter.weights, seed: 0 };
  const addon = loadAddon();
  const native = await addon.openLlava({ ...model, basePrecision, precision, lora, device: resolveDevice(device, addon.info()) });
  return new Assistant(native, tokenizer, { ...image, patches, context, maxPixels: most });
}

class Assistant implements Llava {
  /** One answer at a time: the addon has one sequence. */
  private readonly turns = new Limiter(1);
  private readonly lifetime: Lifetime;

  constructor(
    private readonly native: NativeLlava,
    private readonly tokenizer: TextTokenizer,
    private readonly limits: ImageGeometry & { patches: number; context: number; maxPixels: number },
  ) {
    this.lifetime = new Lifetime('LLaVA', () => native.close());
  }

  get imageSize(): number {
    return this.limits.size;
  }

  generate(request: GenerateRequest): AsyncGenerator<string, void, void> {
    return this.read(parseOptions(requestSchema, request));
  }

  /** The pieces of an answer that is made behind the reader's back. */
  private async *read(request: Request): AsyncGenerator<string, void, void> {
    const stop = new AbortController();
    const pieces = new EventStream<string>();
    const abort = () => {
      stop.abort(request.signal!.reason);
      pieces.fail(stop.signal.reason);
    };
    request.signal?.throwIfAborted();
    request.signal?.addEventListener('abort', abort);
    this.lifetime
      .run(() => this.turns.run(() => this.answer(request, stop.signal, (piece) => pieces.push(piece))))
      .then(
        () => pieces.end(),
        (error: unknown) => pieces.fail(error),
      );
    try {
      for await (const piece of pieces) {
        stop.signal.throwIfAborted();
        yield piece;
      }
    } finally {
      request.signal?.removeEventListener('abort', abort);
      stop.abort();
    }
  }

  private async answer(request: Request, stop: AbortSignal, emit: (piece: string) => void): Promise<void> {
    stop.throwIfAborted();
    const { question, image, system } = request;
    const { size, patches, context } = this.limits;
    const encoded = encodePrompt(this.tokenizer, question, { image: image !== undefined, system });
    const { tokens, imageRows } = spliceImages(encoded, patches);
    if (tokens.length >= context)
      throw new KueaError(
        'bad_prompt',
        `expected a question of fewer tokens than the model's context of ${context}, found ${tokens.length}` +
          `${image === undefined ? '' : `, ${patches} of them the image's`}: ask a shorter one`,
      );
    const pixels = new Uint8Array(image === undefined ? 0 : 3 * size * size);
    if (image !== undefined)
      await prepareImage(image, this.limits, pixels, 0, this.limits.maxPixels).catch(
        namingImage(typeof image === 'string' ? image : 'the image'),
      );

    const most = Math.min(request.maxNewTokens, context - tokens.length);
    const text = this.tokenizer.stream();
    stop.throwIfAborted();
    let token = await this.native.prefill({ tokens, imageRows, pixels, images: image === undefined ? 0 : 1 });
    for (let made = 1; token !== this.tokenizer.eos; made++) {
      const piece = text.push(token);
      if (piece !== '') emit(piece);
      if (made === most) break;
      stop.throwIfAborted();
      token = await this.native.next(token);
    }
    const rest = text.end();
    if (rest !== '') emit(rest);
  }

  close(): Promise<void> {
    return this.lifetime.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
