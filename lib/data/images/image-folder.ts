import { createHash } from 'node:crypto';
import { opendir, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';

import { KueaError, reason } from '../../errors.js';
import { readRegular } from '../../regular-file.js';
import { forEachConcurrently } from '../concurrency.js';
import { largestImage, unreadable } from './decode.js';
import { NameTable } from './name-table.js';
import { type EncodedSource, imageExtensions } from './source.js';

const isImageName = (name: string) => imageExtensions.includes(name.slice(name.lastIndexOf('.') + 1).toLowerCase()) && name.includes('.');
const byBytes = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

/** Ways to one folder at most. Links that lead from each of twenty folders to the next by two names make a million. */
const mostWays = 64;

/** A path spelt in latin1 (see NameTable), as Node takes it. */
const pathOf = (latin1: string) => Buffer.from(latin1, 'latin1');

interface Listing {
  images: string[];
  folders: string[];
}

/**
 * One folder's images and subfolders, without a stat per file: a symbolic link with an image's name is taken for an image, any other link
 * is followed. Names that start with a dot are ignored.
 */
async function list(folder: string): Promise<Listing> {
  const images: string[] = [];
  const folders: string[] = [];
  for await (const entry of await opendir(pathOf(folder), { encoding: 'latin1' as BufferEncoding, bufferSize: 1024 })) {
    const { name } = entry;
    if (name.startsWith('.')) continue;
    if (entry.isDirectory()) folders.push(name);
    else if (isImageName(name)) images.push(name);
    else if (entry.isSymbolicLink() && (await stat(pathOf(`${folder}/${name}`)).catch(() => null))?.isDirectory()) folders.push(name);
  }
  return { images: images.sort(byBytes), folders: folders.sort(byBytes) };
}

/** A walk through the folders under `root`. */
class Walk {
  /** How often each folder has been met, by its place on the disk. */
  private readonly ways = new Map<string, number>();

  constructor(private readonly root: string) {}

  /**
   * All folders under `folder` and itself, with their images, relative to the root. Links that lead back to a folder above are not
   * followed.
   */
  async take(folder: string, above: readonly string[], found: { folder: string; images: string[] }[]): Promise<void> {
    const absolute = `${this.root}/${folder}`;
    const { dev, ino } = await stat(pathOf(absolute));
    const identity = `${dev}:${ino}`;
    if (above.includes(identity)) return;
    const ways = (this.ways.get(identity) ?? 0) + 1;
    if (ways > mostWays)
      throw new KueaError(
        'too_many_links',
        `expected at most ${mostWays} ways to one folder, found more to ${pathOf(absolute)}: its links lead to the same images again and ` +
          `again; remove some`,
      );
    this.ways.set(identity, ways);
    const { images, folders } = await list(absolute);
    found.push({ folder, images });
    for (const name of folders) await this.take(`${folder}/${name}`, [...above, identity], found);
  }
}

/**
 * The images under a folder: its own, then those of each subfolder in order of name. Within a top-level subfolder the order is
 * torchvision's ImageFolder: folders sorted by their whole path, files by name. So a class tree gets ImageFolder's indices (files and
 * folders that start with a dot are ignored, which torchvision does not do), and a flat folder is the same thing with no subfolders.
 * Throws KueaError `too_many_links`, and `data_unreadable` for a folder that cannot be listed.
 */
export async function openImageFolder(root: string): Promise<EncodedSource> {
  return (await walk(root, true)).images;
}

/** The images below a folder's subfolders, as torchvision's ImageFolder has them: a subfolder is a class. */
export interface ClassFolders {
  images: EncodedSource;
  /** Names of the subfolders in order of their bytes, those without an image too. */
  folders: string[];
  /** Of each image the index of its subfolder. */
  labels: Uint32Array;
  /** Images beside the subfolders, which belong to none and are left out. */
  loose: number;
}

/** Lists a tree of class folders. Throws what `openImageFolder` throws. */
export async function openClassFolders(root: string): Promise<ClassFolders> {
  const { images, folders, loose } = await walk(root, false);
  const labels = new Uint32Array(images.length);
  folders.forEach(({ first }, label) => labels.fill(label, first));
  return { images, folders: folders.map(({ name }) => name), labels, loose };
}

/** Images by their paths below a folder, in the order given; somebody has looked whether they are there. */
export function listedImages(root: string, paths: readonly string[]): EncodedSource {
  const images = new ImageFolder(root);
  const split = paths.map((path) => {
    const latin1 = Buffer.from(path).toString('latin1');
    const end = latin1.lastIndexOf('/');
    return { folder: latin1.slice(0, Math.max(0, end)), name: latin1.slice(end + 1) };
  });
  for (let from = 0; from < split.length; ) {
    const { folder } = split[from]!;
    let to = from;
    while (split[to]?.folder === folder) to++;
    images.add(
      folder,
      split.slice(from, to).map(({ name }) => name),
    );
    from = to;
  }
  return images;
}

/** `own`: whether the folder's own images are among them. */
async function walk(
  root: string,
  own: boolean,
): Promise<{ images: ImageFolder; folders: { name: string; first: number }[]; loose: number }> {
  try {
    // Back to the bytes that the path came from.
    const base = Buffer.from(root).toString('latin1');
    const top = await list(base);
    const { dev, ino } = await stat(root);
    const images = new ImageFolder(root);
    if (own) images.add('', top.images);
    const below = new Walk(base);
    const folders = [];
    for (const name of top.folders) {
      folders.push({ name: pathOf(name).toString('utf8'), first: images.length });
      const found: { folder: string; images: string[] }[] = [];
      await below.take(name, [`${dev}:${ino}`], found);
      found.sort((a, b) => byBytes(a.folder, b.folder));
      for (const { folder, images: names } of found) images.add(folder, names);
    }
    return { images, folders, loose: top.images.length };
  } catch (cause) {
    if (cause instanceof KueaError) throw cause;
    throw new KueaError('data_unreadable', `expected to list the images below ${root}, found that they cannot be (${reason(cause)})`, {
      cause,
    });
  }
}

class ImageFolder implements EncodedSource {
  readonly kind = 'folder';
  private readonly folders: Buffer[] = [];
  /** Index of the first image of each folder. */
  private readonly firsts: number[] = [];
  private readonly names = new NameTable();
  private print: Promise<string> | undefined;

  constructor(private readonly root: string) {}

  get length(): number {
    return this.names.length;
  }

  add(folder: string, images: string[]): void {
    if (images.length === 0) return;
    this.folders.push(pathOf(folder ? `${folder}/` : ''));
    this.firsts.push(this.length);
    for (const name of images) this.names.push(name);
  }

  name(i: number): string {
    return this.relative(i).toString('utf8');
  }

  read(i: number): Promise<Uint8Array> {
    return readRegular(this.path(i), largestImage).catch(unreadable);
  }

  /** Covers each image's relative path and its size in bytes, in order; not its contents. One stat an image, the first time. */
  fingerprint(): Promise<string> {
    this.print ??= this.hash();
    return this.print;
  }

  private async hash(): Promise<string> {
    const sizes = new Float64Array(this.length);
    await forEachConcurrently(this.length, 64, async (i) => {
      sizes[i] = await stat(this.path(i)).then(
        (s) => s.size,
        () => -1,
      );
    });
    const hash = createHash('sha256').update('kuea image folder 1\n');
    for (let i = 0; i < this.length; i++) hash.update(this.relative(i)).update(`\0${sizes[i]}\n`);
    return hash.digest('hex');
  }

  async close(): Promise<void> {}

  private relative(i: number): Buffer {
    let low = 0;
    let high = this.firsts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.firsts[middle]! <= i) low = middle;
      else high = middle - 1;
    }
    return Buffer.concat([this.folders[low]!, this.names.at(i)]);
  }

  private path(i: number): Buffer {
    return Buffer.concat([Buffer.from(join(this.root, sep)), this.relative(i)]);
  }
}
