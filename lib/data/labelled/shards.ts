import { access, readdir, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { basename, join } from 'node:path';

import { KueaError, named, shown } from '../../errors.js';
import { openRegular, readAt } from '../../regular-file.js';
import { forEachConcurrently } from '../concurrency.js';
import type { EncodedSource } from '../images/source.js';
import { indexTar, type TarMember } from '../images/tar-index.js';
import { imageOf, samplesOf, TarShards } from '../images/tar-shards.js';
import { readText } from './text-files.js';

/** CLIP_benchmark's dataset_type.txt; a set without one is for classification. */
export type ShardsType = 'classification' | 'multilabel' | 'retrieval';

/** Shards of a split at most. */
const mostShards = 100_000;
/** Bytes of one answer at most: captions of the longest have some thousands. */
const largestAnswer = 1 << 20;

const isShard = (name: string) => /^[^.].*\.tar$/.test(name);

/** Names in a folder, none when it is none. */
const namesIn = (folder: string): Promise<string[]> => readdir(folder).catch(() => []);

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** The splits of a folder in CLIP_benchmark's layout: its subfolders with shards. They are not listed: those of classes are long. */
export async function shardSplits(folder: string): Promise<string[]> {
  const splits: string[] = [];
  for (const name of (await namesIn(folder)).sort())
    if ((await isThere(join(folder, name, 'nshards.txt'))) || (await isThere(join(folder, name, '0.tar')))) splits.push(name);
  return splits;
}

/** What dataset_type.txt says. Throws KueaError `bad_labels` for a word that it does not know. */
export async function shardsType(folder: string): Promise<ShardsType> {
  const file = join(folder, 'dataset_type.txt');
  const type = (await readText(file))?.trim().toLowerCase() ?? 'classification';
  if (type === 'classification' || type === 'multilabel' || type === 'retrieval') return type;
  throw new KueaError('bad_labels', `expected retrieval, multilabel or classification in ${file}, found ${shown(type)}`);
}

/**
 * The shards of a split, 0.tar and so on, as many as its nshards.txt says. Throws KueaError `split_not_found`, `data_format` for an
 * nshards.txt that is missing or no number, `data_not_found` for a shard that is missing, and `wrong_count` for one that is not counted.
 */
export async function shardFiles(folder: string, split: string): Promise<string[]> {
  const own = join(folder, split);
  if (!(await stat(own).catch(() => null))?.isDirectory())
    throw new KueaError(
      'split_not_found',
      `expected the split ${split} in ${folder}, found ${(await shardSplits(folder)).join(', ') || 'none'}: name one of these with --split`,
    );
  const counter = join(own, 'nshards.txt');
  const text = await readText(counter);
  const count = /^\s*\d{1,6}\s*$/.test(text ?? '') ? Number(text) : 0;
  if (count < 1 || count > mostShards)
    throw new KueaError(
      'data_format',
      `expected the number of shards in ${counter}, found ${text === null ? 'no such file' : shown(text)}: without it shards that are ` +
        `missing would not be missed; write it, or fetch the set again`,
    );
  const wanted = Array.from({ length: count }, (_, k) => `${k}.tar`);
  const there = new Set((await namesIn(own)).filter(isShard));
  const missing = wanted.filter((name) => !there.has(name));
  if (missing.length > 0)
    throw new KueaError(
      'data_not_found',
      `expected ${count} shards in ${own}, as nshards.txt says, found ${missing.length} missing, the first ${missing[0]}: fetch them`,
    );
  const surplus = [...there].filter((name) => !wanted.includes(name)).sort();
  if (surplus.length > 0)
    throw new KueaError(
      'wrong_count',
      `expected ${count} shards in ${own}, as nshards.txt says, found ${surplus.length} more, the first ${surplus[0]}: correct ` +
        `nshards.txt, or remove them`,
    );
  return wanted.map((name) => join(own, name));
}

/** A sample that is there twice would count twice. */
function checkKeys(files: readonly string[], keys: readonly (readonly string[])[]): void {
  const places = new Map<string, number>();
  keys.forEach((own, shard) => {
    for (const key of own) {
      const other = places.get(key);
      if (other !== undefined)
        throw new KueaError(
          'bad_shard',
          `expected each sample once, found ${named(key)} in ${files[other]!} and in ${basename(files[shard]!)}: remove one of them`,
        );
      places.set(key, shard);
    }
  });
}

export interface AnsweredImages<T> {
  images: EncodedSource;
  /** Of image i. */
  answers: T[];
  notes: string[];
}

/**
 * The images of shards, each with what `parse` makes of the file beside it that has the extension `answer`. Throws KueaError `bad_labels`
 * for a sample without it, `bad_shard` for one without an image and for a key that is there twice, what `parse` throws, and what the tars
 * throw.
 */
export async function readShards<T>(
  files: readonly string[],
  answer: 'cls' | 'txt' | 'npy',
  parse: (bytes: Buffer, place: string) => T,
  signal?: AbortSignal,
): Promise<AnsweredImages<T>> {
  const images: TarMember[][] = new Array(files.length);
  const answers: T[][] = new Array(files.length);
  const keys: string[][] = new Array(files.length);
  const ignored = new Map<string, number>();
  await forEachConcurrently(files.length, availableParallelism(), async (shard) => {
    const file = files[shard]!;
    const samples = samplesOf(await indexTar(file), file);
    const [ownImages, ownAnswers]: [TarMember[], T[]] = [[], []];
    const { handle } = await openRegular(file);
    try {
      for (const sample of samples) {
        signal?.throwIfAborted();
        const place = `${named(sample.key)} in ${file}`;
        const image = imageOf(sample);
        const beside = sample.files.get(answer);
        if (!image) throw new KueaError('bad_shard', `expected an image for the sample ${place}, found none: mend the shard`);
        if (!beside) throw new KueaError('bad_labels', `expected a .${answer} file for the sample ${place}, found none: mend the shard`);
        if (beside.size > largestAnswer)
          throw new KueaError('bad_labels', `expected at most ${largestAnswer} bytes of .${answer} for ${place}, found ${beside.size}`);
        ownImages.push(image);
        ownAnswers.push(parse(await readAt(handle, beside.offset, beside.size), place));
        for (const [extension, member] of sample.files)
          if (member !== image && member !== beside) ignored.set(extension, (ignored.get(extension) ?? 0) + 1);
      }
    } finally {
      await handle.close();
    }
    [images[shard], answers[shard], keys[shard]] = [ownImages, ownAnswers, samples.map(({ key }) => key)];
  });
  checkKeys(files, keys);
  return {
    images: new TarShards(files, images),
    answers: answers.flat(),
    notes: [...ignored].sort().map(([extension, count]) => `${count} files .${named(extension)} of the shards are not used`),
  };
}
