import { readdirSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { z } from 'zod';

import { readConfigFile } from '../../config/files.js';
import { nearest } from '../../config/keys.js';
import { KueaError, named } from '../../errors.js';
import { type FetchOptions, fetchFiles } from '../../files/hub/fetch.js';
import { packageRoot } from '../../package.js';

export type LabelledTask = 'zero-shot' | 'linear-probe' | 'retrieval';

const schema = z.strictObject({
  /** Other names than that of the file: those of CLIP_benchmark. */
  ids: z.array(z.string()),
  /** Repository of data on the hub. */
  hub: z.string(),
  tasks: z.array(z.enum(['zero-shot', 'linear-probe', 'retrieval'])),
  classes: z.int().positive().optional(),
  templates: z.int().positive().optional(),
  /** By split; several where copies differ. */
  images: z.record(z.string(), z.union([z.int().positive(), z.array(z.int().positive())])),
  captions: z.record(z.string(), z.int().positive()).optional(),
  /** Names that the folder of a split may have too. */
  folders: z.record(z.string(), z.string()).optional(),
});

/** What is known of a published set; configs/eval/NAME.yaml. */
export type NamedSet = z.infer<typeof schema> & { name: string };

const folder = () => join(packageRoot(), 'configs', 'eval');

/** Names that `--dataset` takes, without CLIP_benchmark's ids. */
export function namedSets(): string[] {
  return readdirSync(folder())
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => basename(file, '.yaml'))
    .sort();
}

/** A published set by its name or one of its ids. Throws KueaError `unknown_dataset`, naming the nearest. */
export async function namedSet(name: string): Promise<NamedSet> {
  const known = namedSets();
  const sets = await Promise.all(
    known.map(async (own) => ({ name: own, ...schema.parse(await readConfigFile(join(folder(), `${own}.yaml`))) })),
  );
  const found = sets.find((set) => set.name === name) ?? sets.find(({ ids }) => ids.includes(name));
  if (found) return found;
  throw new KueaError(
    'unknown_dataset',
    `unknown dataset ${named(name)}: did you mean ${nearest(name, known)}? There are ${known.join(', ')}`,
  );
}

/** Folders below $KUEA_DATA in which a set may lie. */
function variants({ name, hub, ids }: NamedSet): string[] {
  const all = [name, ...ids].flatMap((id) => [id, id.replaceAll('/', '-')]);
  return [...new Set([basename(hub), ...all, ...all.map((id) => `wds_${id}`)])];
}

/**
 * The folder of a published set: below $KUEA_DATA, else in the hub's cache, where the files of `split` are fetched to. Throws KueaError
 * `split_not_found`, and what `fetchFiles` throws.
 */
export async function findNamedSet(set: NamedSet, split: string, options: FetchOptions = {}): Promise<string> {
  const root = process.env['KUEA_DATA'];
  for (const name of root ? variants(set) : []) {
    const candidate = join(root!, name);
    if ((await stat(candidate).catch(() => null))?.isDirectory()) return candidate;
  }
  const choose = (paths: readonly string[]) => {
    const own = paths.filter((path) => path.startsWith(`${split}/`) && /^[^/]+\.(tar|txt)$/.test(path.slice(split.length + 1)));
    if (own.length === 0)
      throw new KueaError(
        'split_not_found',
        `expected the split ${split} in ${set.hub} on the hub, found ${splitsOf(paths).join(', ') || 'none'}: name it with --split`,
      );
    return [...paths.filter((path) => /^(classnames|zeroshot_classification_templates|dataset_type)\.txt$/.test(path)), ...own];
  };
  return fetchFiles(set.hub, 'dataset', choose, options);
}

const splitsOf = (paths: readonly string[]) => [
  ...new Set(paths.filter((path) => path.endsWith('.tar')).map((path) => path.slice(0, path.lastIndexOf('/')))),
];

/** Throws KueaError `wrong_task` for a set that is not made for what is to be done with it. */
export function checkTask({ name, tasks }: NamedSet, wanted: readonly LabelledTask[]): void {
  if (!tasks.some((task) => wanted.includes(task)))
    throw new KueaError('wrong_task', `expected a dataset for ${wanted.join(' or ')}, found ${name}, which is for ${tasks.join(' and ')}`);
}

/** Throws KueaError `wrong_count` when there is another number of something than a published set has. */
export function checkCount({ name }: NamedSet, what: string, expected: number | number[] | undefined, found: number): void {
  if (expected === undefined || [expected].flat().includes(found)) return;
  throw new KueaError(
    'wrong_count',
    `expected ${[expected].flat().join(' or ')} ${what} of ${name}, found ${found}: fetch the set again, or give --allow-partial to use ` +
      `what is there`,
  );
}
