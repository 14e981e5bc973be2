import { stat } from 'node:fs/promises';
import { join } from 'node:path';

import { KueaError, shown } from '../../errors.js';
import { openClassFolders } from '../images/image-folder.js';
import type { EncodedSource } from '../images/source.js';
import { checkCount, type NamedSet } from './named.js';
import { readMarks } from './npy.js';
import { findPlace, type Place, type PlaceOptions } from './place.js';
import { bytesOf, type ClassifiedSet, fingerprintOf, type Protocol } from './sets.js';
import { readShards, shardFiles, shardSplits, shardsType } from './shards.js';
import { checkTemplate } from './templates.js';
import { readNames } from './text-files.js';

export interface ClassifiedOptions extends PlaceOptions {
  /** A file of class names, one a line in order of the labels, instead of the set's classnames.txt. */
  classes?: string | undefined;
  /** A file of templates, one a line, instead of the set's zeroshot_classification_templates.txt. */
  templates?: string | undefined;
  /** Default 'clip-benchmark'. */
  protocol?: Protocol | undefined;
}

/** Images and their classes, as a layout gives them. */
interface Answered {
  images: EncodedSource;
  answers: ClassifiedSet['answers'];
  /** Classes that the images or the folders show. */
  seen: number;
  /** What the classes are called when there is no classnames.txt. */
  folders: string[] | null;
  notes: string[];
}

/**
 * Opens images with their classes: folders `DIR/[SPLIT/]CLASS/*.jpg` in the order and with the labels of torchvision's ImageFolder, or
 * CLIP_benchmark's webdataset. classnames.txt and zeroshot_classification_templates.txt in DIR may name the classes and give the templates.
 * Throws KueaError `data_not_found`, `data_empty`, `data_format`, `split_not_found`, `wrong_task`, `wrong_count`, `bad_labels`,
 * `bad_template`, and what reading tars, folders and the hub throws.
 */
export async function openClassified(place: Place, options: ClassifiedOptions = {}): Promise<ClassifiedSet> {
  const { split = 'test', protocol = 'clip-benchmark', allowPartial = false } = options;
  const { path: folder, isFolder, set } = await findPlace(place, split, ['zero-shot', 'linear-probe'], options);
  if (!isFolder) throw new KueaError('data_format', `expected a folder of classes, or one of shards, found the file ${folder}`);
  const sharded = (await shardSplits(folder)).length > 0;
  const found = sharded ? await fromShards(folder, split, options.signal) : await fromFolders(folder, split, set);
  if (found.images.length === 0) throw new KueaError('data_empty', `expected images in the split ${split} of ${folder}, found none`);

  const names = await namesOf(options.classes, join(folder, 'classnames.txt'));
  const templates = (await namesOf(options.templates, join(folder, 'zeroshot_classification_templates.txt')))?.filter(
    (line) => line !== '',
  );
  for (const template of templates ?? []) checkTemplate(template, options.templates ?? folder);
  checkNames(names, found, options.classes ?? join(folder, 'classnames.txt'));
  const classCount = Math.max(names?.length ?? 0, found.seen);
  if (set && !allowPartial) {
    checkCount(set, `images in the split ${split}`, set.images[split], found.images.length);
    if (!options.classes) checkCount(set, 'classes', set.classes, classCount);
    if (!options.templates && templates) checkCount(set, 'templates', set.templates, templates.length);
  }
  const all = names ?? found.folders;
  const classes = protocol === 'kuea-release' && all ? all.filter((name) => name !== '') : all;
  return {
    images: found.images,
    answers: found.answers,
    classCount,
    classes,
    templates: templates ?? null,
    notes: found.notes,
    fingerprint: fingerprintOf('classified images', found.images, () => [
      found.answers.kind === 'one' ? bytesOf(found.answers.labels) : found.answers.marks,
      JSON.stringify({ classCount, classes, templates: templates ?? null }),
    ]),
    close: () => found.images.close(),
  };
}

/** Lines of the file that somebody names, which must be there, else of the set's own. */
async function namesOf(given: string | undefined, own: string): Promise<string[] | null> {
  const names = await readNames(given ?? own);
  if (given !== undefined && !names?.length)
    throw new KueaError('data_not_found', `expected lines of text in ${given}, found ${names ? 'none' : 'no such file'}`);
  return names;
}

/** A list that does not fit would give every class after the fault another's name. */
function checkNames(names: readonly string[] | null, { seen, folders }: Answered, file: string): void {
  if (!names || (folders ? names.length === seen : names.length >= seen)) return;
  throw new KueaError(
    'wrong_count',
    folders
      ? `expected a name for each of the ${seen} class folders in ${file}, one a line, found ${names.length}`
      : `expected at least ${seen} names in ${file}, one a line, since a label is ${seen - 1}, found ${names.length}`,
  );
}

async function fromShards(folder: string, split: string, signal: AbortSignal | undefined): Promise<Answered> {
  const type = await shardsType(folder);
  if (type === 'retrieval')
    throw new KueaError('wrong_task', `expected images with classes in ${folder}, found images with captions, by its dataset_type.txt`);
  const files = await shardFiles(folder, split);
  if (type === 'multilabel') {
    const { images, answers, notes } = await readShards(files, 'npy', readMarks, signal);
    const seen = answers[0]?.length ?? 0;
    const other = answers.findIndex(({ length }) => length !== seen);
    if (other >= 0)
      throw new KueaError('bad_labels', `expected ${seen} marks for each image, found ${answers[other]!.length} for ${images.name(other)}`);
    const marks = new Uint8Array(seen * answers.length);
    answers.forEach((row, i) => marks.set(row, i * seen));
    return { images, answers: { kind: 'several', marks }, seen, folders: null, notes };
  }
  const { images, answers, notes } = await readShards(files, 'cls', labelOf, signal);
  const labels = Uint32Array.from(answers);
  return { images, answers: { kind: 'one', labels }, seen: largest(labels) + 1, folders: null, notes };
}

/** Classes at most: what a label that is damaged would otherwise make room for. */
const mostClasses = 1_000_000;

function labelOf(bytes: Buffer, place: string): number {
  const text = bytes.toString('latin1', 0, 64);
  const label = /^\s*\d{1,7}\s*$/.test(text) ? Number(text) : Number.POSITIVE_INFINITY;
  if (label < mostClasses) return label;
  throw new KueaError('bad_labels', `expected a class number from 0 on in the .cls file of ${place}, found ${shown(text)}`);
}

const largest = (labels: Uint32Array) => labels.reduce((most, label) => Math.max(most, label), -1);

const isFolderAt = async (path: string) => (await stat(path).catch(() => null))?.isDirectory() === true;

/** Names by which splits go. In a folder of these alone no other can be meant. */
const usualSplits = /^(train|val|valid|validation|test|testing|training|trainval|dev)$/;

async function fromFolders(folder: string, split: string, set: NamedSet | null): Promise<Answered> {
  let root = folder;
  const candidates = [split, set?.folders?.[split]].flatMap((name) => (name ? [join(folder, name)] : []));
  // The other name is asked last and wins: ImageNet's own test/ has no answers.
  for (const candidate of candidates) if (await isFolderAt(candidate)) root = candidate;
  const { images, folders, labels, loose } = await openClassFolders(root);
  if (root === folder && folders.length > 0 && folders.every((name) => usualSplits.test(name)))
    throw new KueaError(
      'split_not_found',
      `expected the split ${split} in ${folder}, found ${folders.join(', ')}: name one of these with --split`,
    );
  if (folders.length === 0)
    throw new KueaError(
      'data_format',
      `expected a folder for each class in ${root}, found ${loose > 0 ? `${loose} images and ` : ''}no folder: put the images of a class ` +
        `into a folder of its own`,
    );
  const notes = [];
  if (root === folder) notes.push(`${folder} has no folder ${split}: all images of its classes are taken for that split`);
  if (loose > 0) notes.push(`${loose} images in ${root} itself belong to no class and are not used`);
  return { images, answers: { kind: 'one', labels }, seen: folders.length, folders, notes };
}
