import { mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';

import { getRepoFolderName } from '@huggingface/hub';

import { writeFileAtomically } from '../atomic.js';
import { type HubFile, type HubRepository, isCommit, storedFiles } from './client.js';

/**
 * One repository in Hugging Face's cache, as huggingface_hub keeps it too: blobs/OID, snapshots/COMMIT/PATH that link to them,
 * refs/REVISION; and, ours alone, what files a commit has. Only who holds the lock may change it.
 */
export class HubCache {
  private readonly folder: string;
  readonly lockFile: string;

  constructor(cache: string, { type, name }: HubRepository) {
    const folder = getRepoFolderName({ type, name });
    this.folder = join(cache, folder);
    this.lockFile = join(cache, '.locks', folder, 'kuea.lock');
  }

  snapshot(commit: string): string {
    return join(this.folder, 'snapshots', commit);
  }

  blob({ oid }: HubFile): string {
    return join(this.folder, 'blobs', oid);
  }

  /** The commit that a revision was when it was last fetched. */
  async commit(revision: string): Promise<string | null> {
    const text = await readFile(this.ref(revision), 'utf8').catch(() => '');
    return isCommit(text.trim()) ? text.trim() : null;
  }

  async saveCommit(revision: string, commit: string): Promise<void> {
    await replace(this.ref(revision), commit);
  }

  /** What `saveFiles` kept of a commit, which never changes. */
  async files(commit: string): Promise<HubFile[] | null> {
    const text = await readFile(this.listing(commit), 'utf8').catch(() => null);
    return text === null ? null : storedFiles(text);
  }

  async saveFiles(commit: string, files: readonly HubFile[]): Promise<void> {
    await replace(this.listing(commit), JSON.stringify(files));
  }

  /** Paths of what is there of a commit, whoever has fetched it; null when nothing is. */
  names(commit: string): Promise<string[] | null> {
    return readdir(this.snapshot(commit), { recursive: true }).catch(() => null);
  }

  async has(commit: string, { path, size }: HubFile): Promise<boolean> {
    return isWhole(join(this.snapshot(commit), path), size);
  }

  async hasBlob(file: HubFile): Promise<boolean> {
    return isWhole(this.blob(file), file.size);
  }

  /** Puts a blob into a commit's snapshot, in place of what may be there. */
  async link(commit: string, file: HubFile): Promise<void> {
    const path = join(this.snapshot(commit), file.path);
    await mkdir(dirname(path), { recursive: true });
    await rm(path, { force: true });
    try {
      await symlink(relative(dirname(path), this.blob(file)), path);
    } catch (error) {
      // As huggingface_hub does where there are no links.
      if (!['EPERM', 'ENOSYS', 'ENOTSUP'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
      await rename(this.blob(file), path);
    }
  }

  private ref(revision: string): string {
    return join(this.folder, 'refs', revision);
  }

  private listing(commit: string): string {
    return join(this.folder, '.kuea', `${commit}.json`);
  }
}

async function replace(path: string, content: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFileAtomically(path, content);
}

async function isWhole(path: string, size: number): Promise<boolean> {
  const info = await stat(path).catch(() => null);
  return info?.isFile() === true && info.size === size;
}
