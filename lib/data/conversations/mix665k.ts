import { access } from 'node:fs/promises';
import { join } from 'node:path';

import { downloadFileToCacheDir } from '@huggingface/hub';

import { KueaError } from '../../errors.js';

/** What --data calls LLaVA-1.5's instruction mix. */
export const mix665k = 'llava-665k';
const fileName = 'llava_v1_5_mix665k.json';
const repository = 'liuhaotian/LLaVA-Instruct-150K';

/**
 * The file of the mix: in the folder $KUEA_DATA, where its images (coco/, gqa/, ocr_vqa/, textvqa/, vg/) are looked for, too; else the
 * hub's, from Hugging Face's cache or fetched into it (1 GB). HF_ENDPOINT and HF_TOKEN are honoured. Throws KueaError `data_not_found`.
 */
export async function findMix665k(): Promise<string> {
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
  const hubUrl = process.env['HF_ENDPOINT'];
  const accessToken = process.env['HF_TOKEN'];
  try {
    return await downloadFileToCacheDir({
      repo: { type: 'dataset', name: repository },
      path: fileName,
      ...(hubUrl ? { hubUrl } : {}),
      ...(accessToken ? { accessToken } : {}),
    });
  } catch (cause) {
    const looked = folder ? `no ${fileName} in ${folder} ($KUEA_DATA)` : '$KUEA_DATA is not set';
    throw new KueaError(
      'data_not_found',
      `expected ${fileName} of ${mix665k}, found neither (${looked}) nor could it be fetched from ${repository} on the hub ` +
        `(${(cause as Error).message}): put it into the folder $KUEA_DATA`,
      { cause },
    );
  }
}
