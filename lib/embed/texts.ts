import { setImmediate } from 'node:timers/promises';

import { KueaError } from '../errors.js';
import type { WeightsFile } from '../models/open.js';
import type { Addon, NativeTextEncoder, Precision } from '../native/addon.js';
import { type ClipTokenizer, openClipTokenizer } from '../text/clip-tokenizer.js';

/** Batches that are cut and sorted together: more of them pad less, fewer hold less in memory and let go of the event loop sooner. */
const batchesAtOnce = 16;

/** The text tower of an open CLIP, and its tokenizer. */
export class TextTower {
  private constructor(
    private readonly native: NativeTextEncoder,
    private readonly tokenizer: ClipTokenizer,
    private readonly context: number,
    private readonly batchSize: number,
  ) {}

  /**
   * Opens the text tower of a model, or of what a checkpoint was trained from. Throws KueaError `no_text_tower`, `origin_not_found`,
   * `tokenizer_not_found`, `bad_tokenizer`, `unsupported_model`, `bad_config` and `bad_weights`.
   */
  static async open(
    weights: WeightsFile,
    addon: Addon,
    options: { precision: Precision; device: string; batchSize: number },
  ): Promise<TextTower> {
    const { text, folder } = await weights.companions();
    if (!text)
      throw new KueaError(
        'no_text_tower',
        `expected a CLIP with its text tower, found a vision encoder alone in ${weights.ref}: name the model that it was taken from`,
      );
    const { arch, weights: plan } = text.plan();
    const tokenizer = await openClipTokenizer(folder, arch.vocabulary);
    if (arch.endToken !== null && arch.endToken !== tokenizer.end)
      throw new KueaError(
        'bad_tokenizer',
        `expected the end of a text to be token ${arch.endToken} for ${weights.ref}, as its config says, found ${tokenizer.end}`,
      );
    const { precision, device, batchSize } = options;
    return new TextTower(await addon.openTextEncoder({ arch, weights: plan, precision, device }), tokenizer, arch.context, batchSize);
  }

  get dim(): number {
    return this.native.dim;
  }

  /** fp32 [texts.length, dim], un-normalised. */
  async encode(texts: readonly string[], signal: AbortSignal | undefined): Promise<Float32Array> {
    const result = new Float32Array(texts.length * this.dim);
    const step = this.batchSize * batchesAtOnce;
    for (let start = 0; start < texts.length; start += step) {
      const rows = await this.cut(texts.slice(start, start + step), signal);
      // Texts of about one length go together: what is behind the ends of the shorter ones is computed, too.
      rows.sort((a, b) => a.ids.length - b.ids.length);
      for (let first = 0; first < rows.length; first += this.batchSize) {
        signal?.throwIfAborted();
        const batch = rows.slice(first, first + this.batchSize);
        const context = batch.at(-1)!.ids.length;
        const ids = new Int32Array(batch.length * context);
        for (const [i, row] of batch.entries()) ids.set(row.ids, i * context);
        const found = await this.native.encode(ids, batch.length, context);
        for (const [i, { row }] of batch.entries()) result.set(found.subarray(i * this.dim, (i + 1) * this.dim), (start + row) * this.dim);
      }
    }
    return result;
  }

  /** Ids of each text, a batch's worth between two turns of the event loop. */
  private async cut(texts: readonly string[], signal: AbortSignal | undefined): Promise<{ row: number; ids: number[] }[]> {
    const rows: { row: number; ids: number[] }[] = [];
    for (const [row, text] of texts.entries()) {
      if (row > 0 && row % this.batchSize === 0) await setImmediate();
      signal?.throwIfAborted();
      rows.push({ row, ids: this.tokenizer.encode(text, this.context) });
    }
    return rows;
  }

  close(): Promise<void> {
    return this.native.close();
  }
}
