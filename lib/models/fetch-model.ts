import { KueaError } from '../errors.js';
import { type FetchOptions, fetchFiles } from '../files/hub/fetch.js';

/** Files of a repository that say what a model is and how its images are prepared. */
const configs = /^((generation_|preprocessor_|processor_|open_clip_|tokenizer_|adapter_)?config)\.json$/;
/** The same, how its text is cut, and LLaVA's projector. */
const companions = new RegExp(
  `${configs.source}|^(tokenizer|special_tokens_map|added_tokens|vocab)\\.json$|^merges\\.txt$|^tokenizer\\.model$|^mm_projector\\.bin$`,
);
/** Weights, the first that exists being taken: safetensors before pickles. */
const weights = {
  model: [
    'model.safetensors',
    'model.safetensors.index.json',
    'open_clip_model.safetensors',
    'pytorch_model.bin',
    'pytorch_model.bin.index.json',
  ],
  /** The same of a PEFT adapter. */
  adapter: ['adapter_model.safetensors', 'adapter_model.bin'],
};
/** What LLaVA puts beside an adapter. */
const adapterCompanions = /^(adapter_)?config\.json$|^non_lora_trainables\.(bin|safetensors)$/;

/** Name of the weights file of a folder or repository that has these files, or undefined. */
export function chooseWeights(names: readonly string[], kind: 'model' | 'adapter' = 'model'): string | undefined {
  return weights[kind].find((name) => names.includes(name));
}

export interface FetchModelOptions extends FetchOptions {
  /** A model, an adapter, or of either what says its shape, without weights. Default 'model'. */
  files?: 'model' | 'adapter' | 'config' | undefined;
}

/**
 * Fetches a model or an adapter `owner/name[@revision]` from the hub, or finds it in Hugging Face's cache, and returns its folder. Throws
 * KueaError `bad_weights`, and what fetchFiles throws.
 */
export function fetchModel(ref: string, { files = 'model', ...options }: FetchModelOptions = {}): Promise<string> {
  return fetchFiles(
    ref,
    'model',
    (names) => {
      if (files === 'config') return names.filter((name) => configs.test(name));
      const main = chooseWeights(names, files);
      if (!main)
        throw new KueaError('bad_weights', `expected one of ${weights[files].join(', ')} in ${ref} on the hub, found none of them`);
      const beside = files === 'model' ? companions : adapterCompanions;
      return [...names.filter((name) => beside.test(name)), ...shardsOf(main, names), main];
    },
    options,
  );
}

/** Files that an index of several names: `model-00001-of-00002.safetensors` of model.safetensors.index.json. */
function shardsOf(main: string, names: readonly string[]): string[] {
  if (!main.endsWith('.index.json')) return [];
  const [stem = '', extension = ''] = main.split('.');
  return names.filter((name) => name.startsWith(`${stem}-`) && name.endsWith(`.${extension}`));
}
