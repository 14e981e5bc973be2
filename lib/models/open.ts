import { KueaError } from '../errors.js';
import { readTensors } from '../files/read-tensors.js';
import { type Tensors, toBytes } from '../files/tensors.js';
import type { Arch, ClipVisionArch, LoadStep, TensorBytes } from '../native/addon.js';
import { type ClipLayout, type ClipTextArch, clipLayout, isClipExtra, isText, visionPairs, withVisionModel } from './clip/keys.js';
import { type ClipHints, clipTextArch, clipVisionArch, hfClipHints, openClipHints } from './clip/shape.js';
import { type Dinov2Layout, dinov2Keys, dinov2Layout, isDinov2Extra, unwrapDinov2 } from './dinov2/keys.js';
import { dinov2Arch } from './dinov2/shape.js';
import { fingerprint } from './fingerprint.js';
import { identity, type KeyPair, planLoad } from './key-map.js';
import { readJson, resolveModel } from './model-folder.js';
import { clipStatistics, type Geometry, type ImageStatistics, imagenetStatistics, readPreprocessing } from './preprocessing.js';

export interface OpenWeightsOptions {
  /** What the caller needs; another family is an error. */
  family?: Arch['family'];
  /** Activation of a CLIP whose file does not say it. One that contradicts the file is refused. */
  activation?: ClipVisionArch['activation'] | undefined;
  /** Whether a CLIP without its projection (embedDim 0) will do, as for LLaVA. Default 'needed'. */
  projection?: 'needed' | 'optional';
}

/** Weights on disk, understood and not yet read. */
export interface WeightsFile extends ImageStatistics {
  ref: string;
  /** The file, or the folder, that they lie in. */
  path: string;
  /** The folder with config.json and its companions; absent for a bare file. */
  folder?: string;
  arch: Arch;
  layout: ClipLayout | Dinov2Layout;
  plan: LoadStep[];
  preprocessing: Geometry;
  /** A CLIP's text tower in the file's own layout, carried along to exports. */
  text: { arch: ClipTextArch; layout: 'hf' | 'openai'; tensors: Map<string, TensorBytes> } | null;
  /** Hex SHA-256 over architecture, names and bytes of the tensors. */
  fingerprint(): Promise<string>;
}

/** The activation of a CLIP: what the file says, else what the caller says, else what this kind of file has always had. */
function activationOf(
  ref: string,
  said: ClipHints['activation'],
  asked: ClipHints['activation'],
  fallback: ClipHints['activation'],
): ClipVisionArch['activation'] {
  if (said && asked && said !== asked) {
    throw new KueaError(
      'activation_mismatch',
      `${ref} says that its activation is ${said}, but ${asked} was asked for: with the wrong one a CLIP silently loses accuracy; leave ` +
        `--activation out`,
    );
  }
  const activation = said ?? asked ?? fallback;
  if (!activation)
    throw new KueaError(
      'activation_unknown',
      `${ref} does not say its activation: add --activation quick_gelu (OpenAI, MetaCLIP, DFN) or --activation gelu (most LAION and ` +
        `DataComp models)`,
    );
  return activation;
}

/**
 * Opens the weights of a CLIP or a DINOv2: a Hugging Face or open_clip folder, a single file, or a hub id `owner/name[@revision]`. Names,
 * shapes and dtypes are checked, nothing is loaded. Throws KueaError: `weights_not_found`, `wrong_family`, `bad_weights`,
 * `activation_mismatch`, `activation_unknown`, `unsupported_model`, and what the readers of each format throw.
 */
export async function openWeights(
  ref: string,
  { family, activation, projection = 'needed' }: OpenWeightsOptions = {},
): Promise<WeightsFile> {
  const { path, folder } = await resolveModel(ref);
  const config = folder ? await readJson(folder, 'config.json') : null;
  const openClip = folder ? await readJson(folder, 'open_clip_config.json') : null;
  const file = await readTensors(path);
  const read = { ...file, tensors: withVisionModel(file.tensors) };

  const clip = clipLayout(read.tensors);
  const dinov2Tensors = clip ? read.tensors : unwrapDinov2(read.tensors);
  const dinov2 = clip ? null : dinov2Layout(dinov2Tensors);
  const found = clip ? 'clip' : dinov2 ? 'dinov2' : null;
  const names = { clip: 'a CLIP', dinov2: 'a DINOv2' };
  if (!found) {
    const some = [...read.tensors.keys()].slice(0, 3).join(', ');
    throw new KueaError(
      'wrong_family',
      `expected ${family ? names[family] : 'a CLIP or a DINOv2'} in ${ref}, found tensors of neither (${some}, ...)`,
    );
  }
  if (family && family !== found) {
    throw new KueaError(
      'wrong_family',
      `expected ${names[family]} for the ${family === 'clip' ? 'student' : 'teacher'}, found ${names[found]} in ${ref}`,
    );
  }

  const common = { ref, path, ...(folder ? { folder } : {}) };
  const finish = (
    arch: Arch,
    layout: WeightsFile['layout'],
    pairs: KeyPair[],
    tensors: Tensors,
    ignored: (name: string) => boolean,
    text: WeightsFile['text'],
    defaults: ImageStatistics,
    size: number,
  ) => {
    const plan = planLoad(ref, pairs, tensors, ignored);
    let print: Promise<string> | undefined;
    const files = { ...common, arch, layout, plan, text, fingerprint: () => (print ??= fingerprint(arch, plan)) };
    return readPreprocessing(folder, openClip, defaults, size).then((preprocessing) => ({ ...files, ...preprocessing }));
  };

  if (clip) {
    const tagged = read.metadata['quick_gelu'];
    const hints: ClipHints = clip === 'hf' && config ? hfClipHints(config) : openClip ? openClipHints(openClip) : {};
    const said = tagged === undefined ? hints.activation : tagged === 'true' ? 'quick_gelu' : 'gelu';
    if (hints.activation && said !== hints.activation)
      throw new KueaError(
        'activation_mismatch',
        `${path} was written with ${said}, but the config beside it says ${hints.activation}: one of the two is wrong`,
      );
    // OpenAI's archives and the published code's files have QuickGELU; an open_clip state dict alone may have either.
    const fallback = read.torchScript || clip === 'visual' ? 'quick_gelu' : undefined;
    const arch = clipVisionArch(
      ref,
      read.tensors,
      clip,
      { ...hints, activation: activationOf(ref, said, activation, fallback) },
      projection,
    );
    const textArch = clip === 'visual' ? null : clipTextArch(ref, read.tensors, clip);
    const text = textArch && clip !== 'visual' ? { arch: textArch, layout: clip, tensors: textTensors(read.tensors, clip) } : null;
    const pairs = clip === 'hf' ? visionPairs(arch) : identity(visionPairs(arch), clip === 'openai' ? 'visual.' : '');
    return finish(arch, clip, pairs, read.tensors, (name) => isClipExtra(name) || isText(clip, name), text, clipStatistics, arch.imageSize);
  }
  const layout = dinov2!;
  const arch = dinov2Arch(ref, dinov2Tensors, layout, config);
  return finish(
    arch,
    layout,
    dinov2Keys(layout, arch),
    dinov2Tensors,
    isDinov2Extra,
    null,
    imagenetStatistics,
    Math.min(arch.imageSize, 224),
  );
}

function textTensors(tensors: Tensors, layout: 'hf' | 'openai'): Map<string, TensorBytes> {
  const text = new Map<string, TensorBytes>();
  for (const [name, tensor] of tensors) {
    if (isText(layout, name) && !isClipExtra(name)) text.set(name, toBytes(name, tensor));
  }
  return text;
}
