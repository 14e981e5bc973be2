/** The boundary's other part: CLIP's text tower. See addon.ts. */
import type { ClipVisionArch, LoadStep, Precision } from './addon.js';

/**
 * A CLIP text tower. Parameter names are OpenAI's/open_clip's (`token_embedding.weight`, `positional_embedding`,
 * `transformer.resblocks.0.attn.in_proj_weight`, `ln_final.weight`, `text_projection`).
 */
export interface ClipTextArch {
  width: number;
  layers: number;
  heads: number;
  mlpWidth: number;
  /** Ids of a text at most, those of its beginning and its end among them. */
  context: number;
  vocabulary: number;
  /** Dimension of the projected embedding. */
  embedDim: number;
  activation: ClipVisionArch['activation'];
  /** The id whose first place in a text is its end; null: the highest id that the text has, the first of several. */
  endToken: number | null;
}

export interface TextEncoderSpec {
  arch: ClipTextArch;
  weights: LoadStep[];
  precision: Precision;
  device: string;
}

export interface NativeTextEncoder {
  readonly dim: number;
  /**
   * ids [count, context] of one text or more, anything behind their ends. Resolves to fp32 [count, dim], un-normalised. Rejects with code
   * `bad_batch` for an id outside the vocabulary, a text without its end, and more ids than the tower's context.
   */
  encode(ids: Int32Array, count: number, context: number): Promise<Float32Array>;
  close(): Promise<void>;
}
