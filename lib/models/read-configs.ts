import { readFile, stat } from 'node:fs/promises';

import { downloadFileToCacheDir } from '@huggingface/hub';

import { KueaError } from '../errors.js';
import { isHubId } from '../files/hub.js';
import { type Json, readJson } from './model-folder.js';

/** What says a model's shape beside its weights; null where there is no such file. */
export interface Configs {
  config: Json | null;
  openClip: Json | null;
}

/** Reads them from a folder or from the hub, and no weights. Throws KueaError `hub_unreachable`, `bad_config`. */
export async function readConfigs(ref: string): Promise<Configs> {
  const local = await stat(ref).catch(() => null);
  const read = (name: string) => (!local && isHubId(ref) ? fetchJson(ref, name) : readJson(ref, name));
  return { config: await read('config.json'), openClip: await read('open_clip_config.json') };
}

async function fetchJson(ref: string, path: string): Promise<Json | null> {
  const [repo = '', revision = 'main'] = ref.split('@');
  const hubUrl = process.env['HF_ENDPOINT'];
  const accessToken = process.env['HF_TOKEN'];
  try {
    const file = await downloadFileToCacheDir({
      repo,
      revision,
      path,
      ...(hubUrl ? { hubUrl } : {}),
      ...(accessToken ? { accessToken } : {}),
    });
    return JSON.parse(await readFile(file, 'utf8')) as Json;
  } catch (cause) {
    if ((cause as { statusCode?: number }).statusCode === 404) return null;
    throw new KueaError(
      'hub_unreachable',
      `cannot fetch ${path} of ${ref} from the hub (${(cause as Error).message}): give a folder that has it, or set HF_ENDPOINT ` +
        `to a mirror`,
      { cause },
    );
  }
}
