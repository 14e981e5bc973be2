import { createHash } from 'node:crypto';
import { opendir, readFile, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { forEachConcurrently } from '../concurrency.js';
import { unreadable } from './decode.js';
import { NameTable } from './name-table.js';
import { type EncodedSource, imageExtensions } from './source.js';

const isImageName = (name: string) => imageExtensions.includes(name.slice(name.lastIndexOf('.') + 1).toLowerCase()) && name.includes('.');
const byBytes = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

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

/**
 * All folders under `folder` and itself, with their images, relative to `root`. Links that lead back to a folder above are not followed.
 */
async function walk(root: string, folder: string, above: readonly string[], found: { folder: string; images: string[] }[]): Promise<void> {
  const absolute = folder ? `${root}/${folder}` : root;
  const { dev, ino } = await stat(pathOf(absolute));
  const identity = `${dev}:${ino}`;
  if (above.includes(identity)) return;
  const { images, folders } = await list(absolute);
  found.push({ folder, images });
  for (const name of folders) await walk(root, folder ? `${folder}/${name}` : name, [...above, identity], found);
}

/**
 * The images under a folder: its own, then those of each subfolder in order of name. Within a top-level subfolder the order is
 * torchvision's ImageFolder: folders sorted by their whole path, files by name. So a class tree gets ImageFolder's indices (files and
 * folders that start with a dot are ignored, which torchvision does not do), and a flat folder is the same thing with no subfolders.
 */
export async function openImageFolder(root: string): Promise<EncodedSource> {
  // Back to the bytes that the path came from.
  const base = Buffer.from(root).toString('latin1');
  const own = await list(base);
  const { dev, ino } = await stat(root);
  const source = new ImageFolder(root);
  source.add('', own.images);
  for (const name of own.folders) {
    const found: { folder: string; images: string[] }[] = [];
    await walk(base, name, [`${dev}:${ino}`], found);
    found.sort((a, b) => byBytes(a.folder, b.folder));
    for (const { folder, images } of found) source.add(folder, images);
  }
  return source;
}

class ImageFolder implements EncodedSource {
  readonly kind = 'folder';
  private readonly folders: Buffer[] = [];
  /** Index of the first image of each folder. */
  private readonly firsts: number[] = [];
  private readonly names = new NameTable();

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
    return readFile(this.path(i)).catch(unreadable);
  }

  /** Covers each image's relative path and its size in bytes, in order; not its contents. One stat an image. */
  async fingerprint(): Promise<string> {
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
