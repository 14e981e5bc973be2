import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';

import { KueaError } from '../../errors.js';

/** Where the hub is and who asks, by the variables that huggingface_hub reads too. */
export interface HubSettings {
  /** HF_ENDPOINT, without a slash at its end. */
  endpoint: string;
  /** HF_TOKEN, else what `hf auth login` has saved (HF_TOKEN_PATH, HF_HOME/token). */
  token: string | undefined;
  /** Folder of the cache: HF_HUB_CACHE, else HF_HOME/hub. */
  cache: string;
  /** HF_HUB_OFFLINE: nothing is asked of the network. */
  offline: boolean;
}

/** Reads the settings anew. Throws KueaError `bad_option`; no message shows a token or a password. */
export async function hubSettings(): Promise<HubSettings> {
  const home = process.env['HF_HOME'] || join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'huggingface');
  return {
    endpoint: endpoint(process.env['HF_ENDPOINT'] || 'https://huggingface.co'),
    token: await token(process.env['HF_TOKEN_PATH'] || join(home, 'token')),
    cache: process.env['HF_HUB_CACHE'] || process.env['HUGGINGFACE_HUB_CACHE'] || join(home, 'hub'),
    offline: /^(1|on|yes|true)$/i.test(process.env['HF_HUB_OFFLINE'] ?? ''),
  };
}

function endpoint(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password || url.search || url.hash)
    throw new KueaError(
      'bad_option',
      'expected the address of a hub in HF_ENDPOINT, such as https://huggingface.co, found another text: a token belongs in HF_TOKEN',
    );
  return url.href.replace(/\/+$/, '');
}

async function token(saved: string): Promise<string | undefined> {
  const text = (process.env['HF_TOKEN'] || (await readFile(saved, 'utf8').catch(() => ''))).trim();
  // What fetch says of a header that it refuses would show it.
  if (/[^\x21-\x7e]/.test(text))
    throw new KueaError(
      'bad_option',
      `expected a token in ${process.env['HF_TOKEN'] ? 'HF_TOKEN' : saved}, found characters that no token has: copy it again`,
    );
  return text || undefined;
}
