import type { StoredTensor, Tensors } from '../files/tensors.js';
import type { Arch, ClipTextArch, ClipVisionArch, LoadStep, Precision, TensorBytes, WriteStep } from '../native/addon.js';
import type { KeyPair } from './key-map.js';
import type { Json } from './model-folder.js';
import type { Geometry, ImageStatistics } from './preprocessing.js';

/** What a caller needs a vision encoder for: to train it, to follow it, or as the vision tower of a LLaVA. */
export type Role = 'student' | 'teacher' | 'tower';

/**
 * Layouts that a model can be exported in: a Hugging Face folder, an open_clip folder, OpenAI's names in one file, and the vision tower's
 * own state dict in one file.
 */
export const exportLayouts = ['hf', 'open_clip', 'openai', 'visual'] as const;
export type ExportLayout = (typeof exportLayouts)[number];

/** Writes header and tensors; NativeTrainer.write or NativeEncoder.write. */
export type Write = (file: string, header: Uint8Array, steps: WriteStep[]) => Promise<void>;

/** A model on disk as it was found: its tensors' names and places, and what is said beside them. */
export interface ModelFile {
  ref: string;
  /** The file that the weights lie in. */
  path: string;
  /** The folder with config.json and its companions; absent for a bare file. */
  folder?: string;
  tensors: Tensors;
  /** Of a safetensors file. */
  metadata: Record<string, string>;
  /** Whether it is a TorchScript archive, as OpenAI's CLIP files are. */
  torchScript: boolean;
  config: Json | null;
  openClip: Json | null;
}

/** Shape of a text tower, as far as exports need it. */
export type TextArch = Omit<ClipTextArch, 'activation' | 'endToken'>;

/** A text tower in its file's own layout: carried along to exports, and read when texts are to be embedded. */
export interface TextTower {
  arch: TextArch;
  layout: string;
  tensors: Map<string, TensorBytes>;
  /**
   * What the addon needs to compute it. Throws KueaError `unsupported_model` and `bad_config` where a config asks for what is not
   * computed, and `bad_weights`: a model whose images alone are wanted need not be able to do this.
   */
  plan(): { arch: ClipTextArch; weights: LoadStep[] };
}

export interface ShapeOptions {
  /** Activation of a model whose file does not say it. */
  activation?: ClipVisionArch['activation'] | undefined;
  /** Whether a model without its projection will do (its embedding's dimension is then 0). */
  projection: 'needed' | 'optional';
}

/** What a model costs to run: all that a plan knows without opening weights. */
export interface Cost<A> {
  /** Numbers of an embedding. */
  dim(arch: A): number;
  /** Tokens of an image whose side is `size` pixels. */
  tokens(arch: A, size: number): number;
  /**
   * FLOPs of one forward on an image of this side, two a multiply-add, of matrix products alone. The last block is counted as it runs: keys
   * and values for every token, the rest for the class token.
   */
  forwardFlops(arch: A, size: number): number;
  /** Bytes that the blocks keep of one image of the model's own size for the backward. */
  keptBytes(arch: A, precision: Precision, checkpointing: boolean): number;
}

/**
 * A kind of vision encoder: everything that is particular to it on this side of the addon. Nothing outside its folder asks which kind a
 * model is; what differs is asked of the kind. A new one is a folder with one of these, a line in registry.ts, and, where no family of the
 * addon computes it, a model in native/models.
 *
 * `A` is its shape as the addon takes it, `L` its layouts on disk.
 */
export interface Kind<A extends Arch = Arch, L extends string = string> {
  /** As errors call it, with its article: "a CLIP". */
  readonly name: string;
  /** What computes it in the addon. Kinds that share a family have the same shape, parameters and cost. */
  readonly family: A['family'];
  readonly roles: readonly Role[];
  /** Mean and standard deviation where nothing beside the weights says them. */
  readonly statistics: ImageStatistics;
  readonly cost: Cost<A>;
  /** How it is exported: `out` is a folder to make for a folder's layout, else a file. No entry: not in this layout. */
  readonly exports: { readonly [layout in ExportLayout]?: (weights: WeightsFile, out: string, write: Write) => Promise<void> };

  /** The layout of a file that holds one, and its tensors without wrappers' prefixes; null when it holds none. */
  detect(tensors: Tensors): { layout: L; tensors: Map<string, StoredTensor> } | null;
  /**
   * The shape, from tensors, from configs and from metadata. What a config says and the addon does not compute is refused here. Throws
   * KueaError `unsupported_model`, `bad_weights`, `bad_config`, `activation_mismatch`, `activation_unknown`.
   */
  shape(file: ModelFile, layout: L, options: ShapeOptions): A;
  /** The shape from config.json (or open_clip's) alone; null when it is of another kind. Throws `unsupported_model`, `bad_config`. */
  shapeOfConfig(ref: string, config: Json | null, openClip: Json | null): A | null;
  /** All parameters and the names of their tensors in a layout; without one, under the addon's own names. */
  keys(arch: A, layout?: L): KeyPair[];
  /** Whether a further name is known in this layout, and not wanted. */
  ignores(layout: L, name: string): boolean;
  /** The text tower that the file carries beside the model of this shape. */
  textTower(file: ModelFile, layout: L, arch: A): TextTower | null;
  /** Side in pixels of its images where nothing beside the weights says it. */
  inputSize(arch: A): number;
  /** What no tensor's shape shows, as metadata of a file of ours; `shape` reads it back. */
  metadata(arch: A): Record<string, string>;
}

/** Weights on disk, understood and not yet read. */
export interface WeightsFile extends ImageStatistics {
  ref: string;
  path: string;
  /** The folder with config.json and its companions; absent for a bare file. */
  folder?: string;
  kind: Kind;
  arch: Arch;
  /** Numbers of an embedding; 0 without a projection. */
  dim: number;
  layout: string;
  plan: LoadStep[];
  preprocessing: Geometry;
  text: TextTower | null;
  /** Logarithm of what cosines of images and texts are multiplied with; null when it is not known. A checkpoint has its origin's. */
  logitScale: number | null;
  /** Where the model is, as a run remembers it: an absolute path or a hub id. Of a checkpoint: where what it was trained from is. */
  origin: string;
  /**
   * The model that text tower, tokenizer and config come from: this one; of a checkpoint, what it was trained from. Rejects with KueaError
   * `origin_not_found` when that has gone or is another.
   */
  companions(): Promise<WeightsFile>;
  /** Hex SHA-256 over architecture, names and bytes of the tensors. */
  fingerprint(): Promise<string>;
}
