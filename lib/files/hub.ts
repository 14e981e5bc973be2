import { basename } from 'node:path';

import { downloadFileToCacheDir, listFiles } from '@huggingface/hub';

import { KueaError } from '../errors.js';

/** Files of a repository that say what a model is, how its images are prepared, and how its text is cut; LLaVA's projector. */
const companions = new RegExp(
  '^((generation_|preprocessor_|processor_|open_clip_|tokenizer_)?config|tokenizer|special_tokens_map|added_tokens|vocab)\\.json$' +
    '|^merges\\.txt$|^tokenizer\\.model$|^mm_projector\\.bin$',
);
/** Weights, the first that exists being taken: safetensors before pickles. */
const weights = [
  'model.safetensors',
  'model.safetensors.index.json',
  'open_clip_model.safetensors',
  'pytorch_model.bin',
  'pytorch_model.bin.index.json',
];
/** The same of a PEFT adapter, and what LLaVA puts beside it. */
const adapterWeights = ['adapter_model.safetensors', 'adapter_model.bin'];
const adapterCompanions = /^(adapter_)?config\.json$|^non_lora_trainables\.(bin|safetensors)$/;

export function isHubId(ref: string): boolean {
  return /^[\w.-]+\/[\w.-]+(@[\w./-]+)?$/.test(ref) && !ref.startsWith('.');
}

/** Name of the weights file of a folder or repository that has these files, or undefined. */
export function chooseWeights(names: readonly string[], kind: 'model' | 'adapter' = 'model'): string | undefined {
  return (kind === 'model' ? weights : adapterWeights).find((name) => names.includes(name));
}

/**
 * Downloads a repository `owner/name[@revision]` of a model or an adapter into Hugging Face's cache (HF_HOME) and returns the snapshot's
 * folder. HF_ENDPOINT and HF_TOKEN are honoured. Throws KueaError `hub_not_found`, `hub_denied` or `hub_unreachable`.
 */
export async function fetchFromHub(ref: string, kind: 'model' | 'adapter' = 'model'): Promise<string> {
  const [repo = '', revision = 'main'] = ref.split('@');
  const hubUrl = process.env['HF_ENDPOINT'] ?? undefined;
  const accessToken = process.env['HF_TOKEN'] ?? undefined;
  const params = { repo, revision, ...(hubUrl ? { hubUrl } : {}), ...(accessToken ? { accessToken } : {}) };
  try {
    const names: string[] = [];
    for await (const file of listFiles(params)) if (file.type === 'file') names.push(file.path);
    const main = chooseWeights(names, kind);
    if (!main)
      throw new KueaError(
        'bad_weights',
        `expected one of ${(kind === 'model' ? weights : adapterWeights).join(', ')} in ${ref} on the hub, found none of them`,
      );
    const [stem = '', extension = ''] = main.replace(/\.index\.json$/, '').split('.');
    const shards = main.endsWith('.index.json')
      ? names.filter((name) => name.startsWith(`${stem}-`) && name.endsWith(`.${extension}`) && !name.includes('/'))
      : [];
    const beside = kind === 'model' ? companions : adapterCompanions;
    let folder = '';
    for (const path of [main, ...shards, ...names.filter((name) => beside.test(name))]) {
      const file = await downloadFileToCacheDir({ ...params, path });
      folder = file.slice(0, -basename(path).length - 1);
    }
    return folder;
  } catch (cause) {
    if (cause instanceof KueaError) throw cause;
    const status = (cause as { statusCode?: number }).statusCode;
    if (status === 404)
      throw new KueaError(
        'hub_not_found',
        `expected a local path or a model on the hub, found neither for ${ref}: check the ` +
          `name${accessToken ? '' : ', or set HF_TOKEN if it is private'}`,
        { cause },
      );
    if (status === 401 || status === 403)
      throw new KueaError(
        'hub_denied',
        `the hub refuses ${ref} (${status}): accept its licence there and set HF_TOKEN to a token that may read it`,
        { cause },
      );
    throw new KueaError(
      'hub_unreachable',
      `cannot fetch ${ref} from the hub (${(cause as Error).message}): give a local folder, or set HF_ENDPOINT to a mirror`,
      { cause },
    );
  }
}
