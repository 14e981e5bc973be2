import { createHash } from 'node:crypto';

import type { EncodedSource, PixelSource } from '../images/source.js';

/** 'clip-benchmark': as CLIP_benchmark reads a set. 'kuea-release': as the published code of KUEA does, which drops empty class names. */
export type Protocol = 'clip-benchmark' | 'kuea-release';

interface LabelledSet {
  /** What was met and left out, a sentence each, for people. */
  readonly notes: readonly string[];
  /** Hex SHA-256 over the images' own fingerprint and all answers, names and rules. */
  fingerprint(): Promise<string>;
  close(): Promise<void>;
}

/** Images that each belong to a class, or to several. */
export interface ClassifiedSet extends LabelledSet {
  readonly images: EncodedSource;
  /** 'one': of image i its class. 'several': uint8 [images, classCount], 1 where image i belongs to the class. */
  readonly answers: { kind: 'one'; labels: Uint32Array } | { kind: 'several'; marks: Uint8Array };
  /** Classes that the set has, whether or not they have names or images. */
  readonly classCount: number;
  /** Names by class, which may be empty or repeat; null when the set brings none. */
  readonly classes: readonly string[] | null;
  /** Sentences with a place for a class name; null when the set brings none. */
  readonly templates: readonly string[] | null;
}

/** Images with the captions that belong to them: caption j describes image owner[j]. */
export interface RetrievalSet extends LabelledSet {
  readonly images: EncodedSource;
  readonly captions: readonly string[];
  readonly owner: Uint32Array;
}

/** Images with the classes that each of their patches, or the whole of them, holds. */
export interface MaskedSet extends LabelledSet {
  /** Centre squares at the model's size. */
  readonly images: PixelSource;
  readonly classCount: number;
  /** Rows of an image's labels: its patches, from the top left, row by row; or one. */
  readonly rows: number;
  /** Bytes of a row: class c is bit c & 7 of byte c >> 3. */
  readonly rowBytes: number;
  /** uint8 [rows, rowBytes] of image i. Rejects with KueaError `undecodable_image` and `bad_labels`. */
  labels(i: number): Promise<Uint8Array>;
}

/** A set's fingerprint, computed when it is first asked for: its images' own, then `parts`. */
export function fingerprintOf(
  kind: string,
  images: { fingerprint(): Promise<string> },
  parts: () => readonly (string | Uint8Array)[] | Promise<readonly (string | Uint8Array)[]>,
): () => Promise<string> {
  let print: Promise<string> | undefined;
  const hash = async () => {
    const digest = createHash('sha256').update(`kuea ${kind} 1\n${await images.fingerprint()}\n`);
    for (const part of await parts()) digest.update(`${part.length}\n`).update(part);
    return digest.digest('hex');
  };
  return () => (print ??= hash());
}

/** The bytes of an array of numbers. */
export function bytesOf({ buffer, byteOffset, byteLength }: Uint32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
