import { access } from 'node:fs/promises';
import { join } from 'node:path';

import { KueaError } from '../../errors.js';
import { type FetchOptions, fetchFiles } from '../../files/hub/fetch.js';

/** What --data calls LLaVA-1.5's instruction mix. */
export const mix665k = 'llava-665k';
const fileName = 'llava_v1_5_mix665k.json';
const repository = 'liuhaotian/LLaVA-Instruct-150K';

/**
 * The file of the mix: in the folder $KUEA_DATA, where its images (coco/, gqa/, ocr_vqa/, textvqa/, vg/) are looked for, too; else the
 * hub's, from Hugging Face's cache or fetched into it (1 GB). Throws KueaError `data_not_found`, and the signal's reason.
 */
export async function findMix665k(options: FetchOptions = {}): Promise<string> {
  const folder = process.env['KUEA_DATA'];
  if (folder) {
    const file = join(folder, fileName);
    if (
      await access(file).then(
        () => true,
        () => false,
      )
    )
      return file;
  }
  try {
    return join(await fetchFiles(repository, 'dataset', () => [fileName], options), fileName);
  } catch (cause) {
    if (!(cause instanceof KueaError)) throw cause;
    const looked = folder ? `no ${fileName} in ${folder} ($KUEA_DATA)` : '$KUEA_DATA is not set';
    throw new KueaError(
      'data_not_found',
      `expected ${fileName} of ${mix665k}, found neither (${looked}) nor could it be fetched from ${repository} on the hub ` +
        `(${cause.message}): put it into the folder $KUEA_DATA`,
      { cause },
    );
  }
}
