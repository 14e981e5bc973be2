import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';

import { KueaError } from '../../errors.js';
import { writeFileAtomically } from '../../files/atomic.js';
import type { TextTokenizer } from '../../text/tokenizer.js';
import { defaultConcurrency } from '../concurrency.js';
import { type Index, indexConversations, openConversations, withoutFaults } from './conversations.js';
import type { ImageGeometry } from './image.js';
import { findMix665k, mix665k } from './mix665k.js';
import { checkImages } from './preflight.js';
import type { SampleSource } from './source.js';
import { openTokenizedFile } from './tokenized-file.js';

export interface SampleOptions extends ImageGeometry {
  /** Folder of the images. Default: $KUEA_DATA for llava-665k, else the folder of the file. */
  images?: string | undefined;
  /** Null will do for a .safetensors file. */
  tokenizer: TextTokenizer | null;
  /** Patches of an image. */
  patches: number;
  /** Id of an image feature in a .safetensors file (llava-hf's image_token_index). */
  imageToken?: number | undefined;
  /** Tokens of a sample at most. */
  maxLength: number;
  /** What to do about images that are missing, or with `verifyImages` damaged: leave their samples out, or not begin. */
  missing: 'skip' | 'error';
  verifyImages: boolean;
  /** What is left out is listed here, a line each: {record, id, image?, reason}. */
  reportFile?: string | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Opens the samples that `ref` names: `llava-665k`, a file of LLaVA's schema (a JSON array, or JSON lines), or a .safetensors file of ids.
 * Every record and the path of every image is looked at before it resolves. Throws KueaError `data_not_found`, `data_empty`,
 * `missing_images`, `missing_option`, and what the kinds throw.
 */
export async function openSamples(ref: string, options: SampleOptions): Promise<SampleSource> {
  const file = ref === mix665k ? await findMix665k({ signal: options.signal }) : ref;
  const found = await stat(file).catch(() => null);
  if (!found?.isFile())
    throw new KueaError(
      'data_not_found',
      `expected ${mix665k}, a .json or .jsonl file of LLaVA's schema, or a .safetensors file for --data, found ` +
        `${found ? 'a folder' : 'nothing'} at ${ref}`,
    );
  if (/\.safetensors$/i.test(file)) {
    if (options.imageToken === undefined)
      throw new KueaError(
        'missing_option',
        `expected the id of the image token in ${file}, found none: the model's config.json has no image_token_index`,
      );
    return nonEmpty(await openTokenizedFile(file, { ...options, imageToken: options.imageToken }), file, '');
  }
  if (!options.tokenizer) throw new KueaError('missing_option', `expected a tokenizer for ${file}, found none in the model's folder`);

  const images = options.images ?? (ref === mix665k ? process.env['KUEA_DATA'] : undefined) ?? dirname(file);
  const index = await usable(file, images, options);
  await report(index, options.reportFile);
  const first = index.unusable[0];
  return nonEmpty(
    await openConversations(file, index, { ...options, tokenizer: options.tokenizer, images }),
    file,
    first ? `: the first of ${index.unusable.length} that cannot be used, record ${first.record}, ${first.reason}` : '',
  );
}

async function usable(file: string, images: string, options: SampleOptions): Promise<Index> {
  const index = await indexConversations(file, options.signal);
  if (index.paths.length > 0 && !(await stat(images).catch(() => null))?.isDirectory()) {
    throw new KueaError('missing_images', `expected the folder of the images at ${images}, found no such folder: name it with --images`);
  }
  const faults = await checkImages(images, index.paths, {
    verify: options.verifyImages,
    concurrency: options.verifyImages ? defaultConcurrency() : 64,
    signal: options.signal,
  });
  if (faults.size === 0) return index;
  const checked = await withoutFaults(file, index, faults);
  if (options.missing === 'error') {
    await report(checked, options.reportFile);
    const path = index.paths.find((p) => faults.has(p))!;
    const list = options.reportFile ? `; ${options.reportFile} lists their records` : '';
    throw new KueaError(
      'missing_images',
      `expected ${index.paths.length} images below ${images}, found ${faults.size} that cannot be used, such as ${path} ` +
        `(${faults.get(path)!})${list}: name their folder with --images, fetch them, or leave their samples out with --missing skip`,
    );
  }
  return checked;
}

async function report({ unusable }: Index, file: string | undefined): Promise<void> {
  if (file) await writeFileAtomically(file, unusable.map((line) => `${JSON.stringify(line)}\n`).join(''));
}

async function nonEmpty(source: SampleSource, file: string, why: string): Promise<SampleSource> {
  if (source.length > 0) return source;
  await source.close();
  throw new KueaError('data_empty', `expected at least one sample to learn from in ${file}, found none${why}`);
}
