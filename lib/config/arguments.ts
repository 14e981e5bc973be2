import { isUint8Array } from 'node:util/types';

import { z } from 'zod';

import { KueaError } from '../errors.js';

/** What a caller gave, for the end of an error's sentence: "found ...". */
export function describe(value: unknown): string {
  if (value instanceof URL) return 'a URL (fileURLToPath gives its path)';
  if (typeof value === 'function') return 'a function';
  // JSON has no NaN.
  if (typeof value === 'number') return String(value);
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const { name } = (value as { constructor?: { name?: string } }).constructor ?? {};
    if (name && name !== 'Object') return `a value of class ${name}`;
  }
  if (typeof value === 'number') return String(value);
  try {
    return (JSON.stringify(value) ?? String(value)).slice(0, 200);
  } catch {
    return typeof value === 'bigint' ? `${value}n` : 'an object that is no JSON';
  }
}

/** An image as the API takes it: the path of a file, or the bytes of one (JPEG, PNG, WebP ...). */
export type ImageArgument = string | Uint8Array;

const isImage = (value: unknown) => (typeof value === 'string' && value !== '') || isUint8Array(value);

export const imageArgument = z.custom<ImageArgument>(isImage, 'expected a path or the bytes of an image file');

/** A copy of a list of images, each checked. Throws KueaError `bad_option`. */
export function checkImages(images: unknown): ImageArgument[] {
  const refuse = (what: string, found: unknown) => new KueaError('bad_option', `expected ${what}, found ${describe(found)}`);
  if (!Array.isArray(images)) throw refuse('an array of images, each a path or the bytes of an image file', images);
  // Array.from: a hole of the array is found, too.
  return Array.from(images, (image: unknown, i) => {
    if (!isImage(image)) throw refuse(`a path or the bytes of an image file for image ${i}`, image);
    return image as ImageArgument;
  });
}

/** A copy of a list of texts, each checked. Throws KueaError `bad_option`. */
export function checkTexts(texts: unknown): string[] {
  if (!Array.isArray(texts)) throw new KueaError('bad_option', `expected an array of texts, found ${describe(texts)}`);
  // Array.from: a hole of the array is found, too.
  return Array.from(texts, (text: unknown, i) => {
    if (typeof text === 'string') return text;
    throw new KueaError('bad_option', `expected a string for text ${i}, found ${describe(text)}`);
  });
}

/** The reference of a model. Throws KueaError `bad_option`. */
export function checkRef(ref: unknown): string {
  if (typeof ref === 'string' && ref !== '') return ref;
  throw new KueaError('bad_option', `expected a model's folder, file or hub id, found ${describe(ref)}`);
}
