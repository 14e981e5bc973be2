import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';

import { KueaError, shown } from '../../errors.js';
import { openRegular, readAt } from '../../regular-file.js';
import type { TextTokenizer } from '../../text/tokenizer.js';
import {
  checkTurns,
  type Encoded,
  encodeConversation,
  ignoreLabel,
  imageToken,
  type Turn,
  UnusableConversation,
} from '../../text/vicuna.js';
import { type ImageGeometry, prepareImage } from './image.js';
import { scanRecords } from './records.js';
import type { Sample, SampleSource } from './source.js';

/** A record of the data, as far as it matters here. */
interface LlavaRecord {
  id?: unknown;
  image?: unknown;
  conversations?: unknown;
}

/** A record that cannot be used; `record` is its number in the file. */
export interface Unusable {
  record: number;
  id: unknown;
  image?: string;
  reason: string;
}

/** The usable records of a file, each by its place. */
export interface Index {
  records: Uint32Array;
  offsets: Float64Array;
  sizes: Uint32Array;
  /** Modality lengths: words, negative without an image. */
  lengths: Int32Array;
  /** Place in `paths` of each record's image, -1 without one. */
  images: Int32Array;
  /** Distinct images. */
  paths: string[];
  unusable: Unusable[];
  /** Hex SHA-256 of the file. */
  sha256: string;
}

/** Words of a text, as whitespace parts them. */
function countWords(text: string): number {
  let words = 0;
  let inWord = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    const space = code <= 0x20 || code === 0xa0 || code === 0x3000;
    if (!space && !inWord) words++;
    inWord = !space;
  }
  return words;
}

/** What a list of unusable records says of one; an id that is no name, or a long one, is cut. */
function shortId({ id }: LlavaRecord): unknown {
  return typeof id === 'number' || (typeof id === 'string' && id.length <= 1024) ? id : id === undefined ? id : shown(id);
}

/** The image's path, or null for a text-only record. Throws UnusableConversation. */
function imageOf({ image }: LlavaRecord): string | null {
  if (image === undefined || image === null) return null;
  if (typeof image !== 'string' || image === '') throw new UnusableConversation(`an image that is no path: ${shown(image)}`);
  return image;
}

/** Reads a file of LLaVA's schema once and keeps where each usable record lies. Throws KueaError `bad_json`. */
export async function indexConversations(file: string, signal?: AbortSignal): Promise<Index> {
  const usable: { record: number; offset: number; size: number; length: number; image: number }[] = [];
  const unusable: Unusable[] = [];
  const ids = new Map<string, number>();
  let record = 0;
  const sha256 = await scanRecords(
    file,
    (value, offset, size) => {
      const candidate = value as LlavaRecord;
      try {
        const image = imageOf(candidate);
        checkTurns(candidate.conversations, image !== null);
        // As the reference counts: all turns, also one that is left out.
        const words = (candidate.conversations as Turn[]).reduce((sum, turn) => sum + countWords(turn.value), 0);
        if (image !== null && !ids.has(image)) ids.set(image, ids.size);
        usable.push({ record, offset, size, length: image === null ? -words : words, image: image === null ? -1 : ids.get(image)! });
      } catch (error) {
        if (!(error instanceof UnusableConversation)) throw error;
        unusable.push({ record, id: shortId(candidate), reason: `found ${error.message}` });
      }
      record++;
    },
    signal,
  );
  return {
    records: Uint32Array.from(usable, (r) => r.record),
    offsets: Float64Array.from(usable, (r) => r.offset),
    sizes: Uint32Array.from(usable, (r) => r.size),
    lengths: Int32Array.from(usable, (r) => r.length),
    images: Int32Array.from(usable, (r) => r.image),
    paths: [...ids.keys()],
    unusable,
    sha256,
  };
}

/** Without the records whose image has a fault; those are listed with the unusable ones. */
export async function withoutFaults(file: string, index: Index, faults: ReadonlyMap<string, string>): Promise<Index> {
  const faulty = index.images.map((path) => (path >= 0 && faults.has(index.paths[path]!) ? 1 : 0));
  const kept = <T extends Uint32Array | Int32Array | Float64Array>(list: T) => list.filter((_, i) => !faulty[i]) as T;
  const unusable = [...index.unusable];
  const { handle } = await openRegular(file);
  try {
    for (let i = faulty.indexOf(1); i >= 0; i = faulty.indexOf(1, i + 1)) {
      const image = index.paths[index.images[i]!]!;
      const record = (await readRecord(handle, file, index.offsets[i]!, index.sizes[i]!)) as LlavaRecord;
      unusable.push({ record: index.records[i]!, id: shortId(record), image, reason: `found ${faults.get(image)!}` });
    }
  } finally {
    await handle.close();
  }
  return {
    ...index,
    records: kept(index.records),
    offsets: kept(index.offsets),
    sizes: kept(index.sizes),
    lengths: kept(index.lengths),
    images: kept(index.images),
    unusable: unusable.sort((a, b) => a.record - b.record),
  };
}

async function readRecord(handle: FileHandle, file: string, offset: number, size: number): Promise<unknown> {
  const bytes = await readAt(handle, offset, size);
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw new KueaError(
      'data_changed',
      `expected the record at byte ${offset} of ${file} that was there at the start, found other bytes: the file was changed while it ` +
        `was read`,
      { cause },
    );
  }
}

export interface ConversationOptions extends ImageGeometry {
  /** Folder that the images' paths start from. */
  images: string;
  tokenizer: TextTokenizer;
  /** Patches of an image. */
  patches: number;
  /** Tokens of a sample at most, its patches counted. */
  maxLength: number;
}

/**
 * Ids and labels as the model takes them: cut at `maxLength` before and after the image's place becomes one a patch, as the reference does
 * (whatever the first cut takes off, the second would).
 */
export function finish({ ids, labels }: Encoded, patches: number, maxLength: number): { tokens: Int32Array; labels: Int32Array } {
  const place = ids.indexOf(imageToken);
  if (place < 0) return { tokens: Int32Array.from(ids.slice(0, maxLength)), labels: Int32Array.from(labels.slice(0, maxLength)) };
  const splice = (list: readonly number[], filler: number) =>
    Int32Array.from([...list.slice(0, place), ...new Array<number>(patches).fill(filler), ...list.slice(place + 1)].slice(0, maxLength));
  return { tokens: splice(ids, imageToken), labels: splice(labels, ignoreLabel) };
}

/** The records of `index`, read from `file` one at a time as they are needed. */
export async function openConversations(file: string, index: Index, options: ConversationOptions): Promise<SampleSource> {
  const { handle } = await openRegular(file);
  const { images, tokenizer, patches, maxLength, size, aspect } = options;
  // Not the rest of the index: the paths of all images would stay in memory.
  const { records, offsets, sizes, lengths, sha256 } = index;
  return {
    length: records.length,
    pixels: 'u8',
    lengths,
    skipped: index.unusable.length,
    name: (i) => `record ${records[i]!}`,

    async read(i): Promise<Sample> {
      const record = (await readRecord(handle, file, offsets[i]!, sizes[i]!)) as LlavaRecord;
      const image = imageOf(record);
      const encoded = encodeConversation(tokenizer, checkTurns(record.conversations, image !== null), image !== null);
      return {
        ...finish(encoded, patches, maxLength),
        copyPixels: async (target, offset) => {
          try {
            await prepareImage(join(images, image!), { size, aspect }, target, offset);
          } catch (error) {
            if (!(error instanceof KueaError)) throw error;
            throw new KueaError(error.code, `${image}: ${error.message}`, { cause: error });
          }
        },
      };
    },

    /** Covers the file's bytes and which of its records are used; not the images. */
    async fingerprint() {
      return createHash('sha256').update(`kuea conversations 1\n${sha256}\n`).update(records).digest('hex');
    },

    close: () => handle.close(),
  };
}
