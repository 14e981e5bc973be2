import { KueaError } from '../../errors.js';
import { asWriteError } from '../atomic.js';
import { HubCache } from './cache.js';
import { HubClient, type HubFile, type HubRepository, isCommit } from './client.js';
import { download, type HubProgress } from './download.js';
import { type Lock, waitForLock } from './lock.js';
import { type HubSettings, hubSettings } from './settings.js';

export interface FetchOptions {
  signal?: AbortSignal | undefined;
  /** Called while a file is downloaded, every MiB and at its end. */
  onProgress?: ((progress: HubProgress) => void) | undefined;
}

/** Whether a reference can be one on the hub: `owner/name[@revision]`. */
export function isHubId(ref: string): boolean {
  return /^[\w.-]+\/[\w.-]+(@[\w./-]+)?$/.test(ref) && !ref.startsWith('.') && !/(^|[/@])\.{0,2}([/@]|$)/.test(ref);
}

/**
 * Fetches files of a repository `owner/name[@revision]` into Hugging Face's cache and returns the folder of their snapshot, all of one
 * commit. `choose` is given the paths of all files (of a model, those that lie in no folder) and gives those that are needed. What is in
 * the cache is not fetched again; of all processes of a machine that want the same, one downloads and the others wait. HF_HUB_OFFLINE, or
 * a hub that does not answer, leaves the cache. Throws KueaError `hub_not_found`, `hub_denied`, `hub_unreachable`, `hub_offline`,
 * `hub_corrupt`, `hub_cache`, `disk_full`, `bad_option` for the variables, the signal's reason, and what `choose` throws.
 */
export async function fetchFiles(
  ref: string,
  type: HubRepository['type'],
  choose: (names: readonly string[]) => readonly string[],
  { signal, onProgress }: FetchOptions = {},
): Promise<string> {
  const [name = '', revision = 'main'] = ref.split('@');
  const repository = { type, name, revision };
  const settings = await hubSettings();
  const cache = new HubCache(settings.cache, repository);
  const client = new HubClient(settings, repository, signal);
  const { commit, files, silent } = await look(ref, revision, settings, cache, client);
  const folder = cache.snapshot(commit);
  const pick = (names: readonly string[]) => {
    const chosen = choose(names);
    const absent = chosen.find((path) => !names.includes(path));
    if (absent) throw new KueaError('hub_not_found', `expected ${absent} in ${ref} on the hub, found no such file`);
    return chosen;
  };
  if (!files) {
    try {
      pick((await cache.names(commit)) ?? []);
    } catch (cause) {
      throw silent ?? offline(ref, settings, `only a part of it is (${(cause as Error).message})`);
    }
    return folder;
  }
  const chosen = pick(files.map(({ path }) => path));
  const wanted = files.filter(({ path }) => chosen.includes(path));

  const missing = await missingOf(cache, commit, wanted);
  const known = (await cache.files(commit)) !== null && (isCommit(revision) || (await cache.commit(revision)) === commit);
  if (missing.length === 0 && known) return folder;
  if (settings.offline) throw offline(ref, settings, `${missing[0]?.path} of it is not`);
  let lock: Lock | null = null;
  try {
    lock = await lockOf(cache, signal);
    for (const file of await missingOf(cache, commit, wanted)) {
      if (!(await cache.hasBlob(file))) await download(cache.blob(file), { client, commit, file, signal, onProgress });
      await cache.link(commit, file);
    }
    await cache.saveFiles(commit, files);
    if (!isCommit(revision)) await cache.saveCommit(revision, commit);
  } catch (error) {
    signal?.throwIfAborted();
    const { code } = error as NodeJS.ErrnoException;
    if (!['EROFS', 'EACCES', 'EPERM', 'unwritable_file', 'bad_out'].includes(code ?? '')) throw asWriteError(error, settings.cache);
    // A cache that others fill and we only read will do as long as it has all.
    if (missing.length > 0)
      throw new KueaError(
        'hub_cache',
        `expected a folder that can be written to for ${ref} at ${settings.cache}, found ${code}: name another in HF_HUB_CACHE`,
        { cause: error },
      );
  } finally {
    await lock?.release();
  }
  return folder;
}

/**
 * The commit and its files: the hub's word, or the cache's where the hub is not to be asked or does not answer, which is `silent`. Files
 * are null where the hub has not said them and another program filled the cache.
 */
async function look(
  ref: string,
  revision: string,
  settings: HubSettings,
  cache: HubCache,
  client: HubClient,
): Promise<{ commit: string; files: HubFile[] | null; silent: KueaError | null }> {
  let silent: KueaError | null = null;
  const ask = async <T>(question: () => Promise<T>): Promise<T | null> => {
    if (settings.offline || silent) return null;
    return question().catch((error: unknown) => {
      if (!(error instanceof KueaError) || error.code !== 'hub_unreachable') throw error;
      silent = error;
      return null;
    });
  };
  const commit = isCommit(revision) ? revision : ((await ask(() => client.commit())) ?? (await cache.commit(revision)));
  const files = commit && ((await cache.files(commit)) ?? (await ask(() => client.files(commit))));
  if (!commit || (!files && !(await cache.names(commit)))) throw silent ?? offline(ref, settings, 'it is not');
  return { commit, files: files || null, silent };
}

function offline(ref: string, { cache }: HubSettings, found: string): KueaError {
  return new KueaError(
    'hub_offline',
    `expected ${ref} in the cache ${cache}, since HF_HUB_OFFLINE is set, but ${found}: unset it, or give a local folder`,
  );
}

async function missingOf(cache: HubCache, commit: string, files: readonly HubFile[]): Promise<HubFile[]> {
  const missing: HubFile[] = [];
  for (const file of files) if (!(await cache.has(commit, file))) missing.push(file);
  return missing;
}

/** Null where the file system knows no locks: then two may download the same at once, which costs time alone. */
async function lockOf(cache: HubCache, signal: AbortSignal | undefined): Promise<Lock | null> {
  try {
    return await waitForLock(cache.lockFile, signal);
  } catch (error) {
    if (!['ENOLCK', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EINVAL'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    return null;
  }
}
