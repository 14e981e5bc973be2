import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { basename } from 'node:path';

import { KueaError, named } from '../../errors.js';
import { openRegular, readAt, UnfitFile } from '../../regular-file.js';
import { forEachConcurrently } from '../concurrency.js';
import { largestImage, unreadable } from './decode.js';
import { NameTable } from './name-table.js';
import { type EncodedSource, imageExtensions } from './source.js';
import { indexTar, type TarMember } from './tar-index.js';

/** The files of a sample: `key` is their path up to the first dot of the file name, the rest in lower case is the extension of each. */
export interface TarSample {
  key: string;
  files: Map<string, TarMember>;
}

/** The samples of one shard, in order: adjacent files of one key. Throws KueaError `bad_shard` for a repeated extension. */
export function samplesOf(members: readonly TarMember[], shard: string): TarSample[] {
  const samples: TarSample[] = [];
  let sample: TarSample | undefined;
  for (const member of members) {
    const file = basename(member.path);
    const dot = file.indexOf('.');
    // Dotfiles, names without an extension, and WebDataset's meta members (__name__).
    if (dot < 1 || /^__.*__/.test(file)) continue;
    const extension = file.slice(dot + 1).toLowerCase();
    const key = member.path.slice(0, member.path.length - file.length + dot);
    if (key !== sample?.key) samples.push((sample = { key, files: new Map() }));
    if (sample.files.has(extension)) {
      throw new KueaError(
        'bad_shard',
        `expected one .${named(extension)} file a sample, found two for ${named(key)} in ${shard} (the second at offset ${member.offset})`,
      );
    }
    sample.files.set(extension, member);
  }
  return samples;
}

/** The image of a sample: of several the first in `imageExtensions`. */
export function imageOf({ files }: TarSample): TarMember | undefined {
  const extension = imageExtensions.find((e) => files.has(e));
  return extension === undefined ? undefined : files.get(extension);
}

/**
 * The images of WebDataset shards, in the order given: each sample with an image counts. Headers are read once, here; then images are read
 * at random. Rejects as `indexTar` does, and with `bad_shard` for a repeated extension.
 */
export async function openTarShards(files: readonly string[]): Promise<EncodedSource> {
  const images: TarMember[][] = new Array(files.length);
  await forEachConcurrently(files.length, availableParallelism(), async (i) => {
    images[i] = samplesOf(await indexTar(files[i]!), files[i]!).flatMap((sample) => imageOf(sample) ?? []);
  });
  return new TarShards(files, images);
}

/** Images that lie in tars: those of file i are `images[i]`. */
export class TarShards implements EncodedSource {
  readonly kind = 'tar';
  readonly length: number;
  private readonly shards: Uint32Array;
  private readonly offsets: Float64Array;
  private readonly sizes: Float64Array;
  private readonly names = new NameTable();
  private print: Promise<string> | undefined;

  constructor(
    private readonly files: readonly string[],
    images: readonly TarMember[][],
  ) {
    this.length = images.reduce((n, shard) => n + shard.length, 0);
    this.shards = new Uint32Array(this.length);
    this.offsets = new Float64Array(this.length);
    this.sizes = new Float64Array(this.length);
    let i = 0;
    images.forEach((shard, number) => {
      for (const { path, offset, size } of shard) {
        this.shards[i] = number;
        this.offsets[i] = offset;
        this.sizes[i++] = size;
        this.names.push(Buffer.from(path).toString('latin1'));
      }
    });
  }

  name(i: number): string {
    return `${basename(this.file(i))}/${this.names.at(i).toString('utf8')}`;
  }

  async read(i: number): Promise<Uint8Array> {
    const size = this.sizes[i]!;
    if (size > largestImage) unreadable(new UnfitFile('file_too_large', this.name(i), `at most ${largestImage} bytes`, `${size} bytes`));
    const { handle } = await openRegular(this.file(i)).catch(unreadable);
    try {
      return await readAt(handle, this.offsets[i]!, size);
    } catch (error) {
      return unreadable(error);
    } finally {
      await handle.close();
    }
  }

  /** Covers each shard's name and size in bytes, and each image's path, offset and size, in order; not the images' contents. */
  fingerprint(): Promise<string> {
    this.print ??= this.hash();
    return this.print;
  }

  private async hash(): Promise<string> {
    const hash = createHash('sha256').update('kuea tar shards 1\n');
    for (const file of this.files) hash.update(`${basename(file)}\0${(await stat(file)).size}\n`);
    for (let i = 0; i < this.length; i++)
      hash.update(this.names.at(i)).update(`\0${this.shards[i]}\0${this.offsets[i]}\0${this.sizes[i]}\n`);
    return hash.digest('hex');
  }

  async close(): Promise<void> {}

  private file(i: number): string {
    return this.files[this.shards[i]!]!;
  }
}
