import { stat } from 'node:fs/promises';
import { isHubId } from '../files/hub/fetch.js';
import { fetchModel } from './fetch-model.js';
import { type Json, readJson } from './model-folder.js';

/** What says a model's shape beside its weights; null where there is no such file. */
export interface Configs {
  config: Json | null;
  openClip: Json | null;
}

/** Reads them from a folder or from the hub, and no weights. Throws KueaError `bad_config`, and what fetching throws. */
export async function readConfigs(ref: string): Promise<Configs> {
  const isThere = await stat(ref).catch(() => null);
  const folder = !isThere && isHubId(ref) ? await fetchModel(ref, { files: 'config' }) : ref;
  return { config: await readJson(folder, 'config.json'), openClip: await readJson(folder, 'open_clip_config.json') };
}
