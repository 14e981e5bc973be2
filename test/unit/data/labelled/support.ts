import { cp } from 'node:fs/promises';

import { Header } from 'tar';

import type { EncodedSource } from '../../../../lib/data/images/source.js';
import { golden, inFolder } from '../images/support.js';

export const labelled = (...path: string[]) => golden('labelled', ...path);

export const names = (images: { length: number; name(i: number): string }) =>
  Array.from({ length: images.length }, (_, i) => images.name(i));

export const text = async (images: EncodedSource, i: number) => Buffer.from(await images.read(i)).toString();

/** A tar of these files, in this order. */
export function tarOf(files: readonly (readonly [path: string, content: string | Buffer])[]): Buffer {
  const blocks = files.flatMap(([path, content]) => {
    const body = Buffer.from(content);
    const header = Buffer.alloc(512);
    new Header({ path, mode: 0o644, size: body.length, type: 'File', mtime: new Date(0) }).encode(header);
    return [header, body, Buffer.alloc((512 - (body.length % 512)) % 512)];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

/** Runs `f` with a copy of one of the goldens, to be changed. */
export function withCopy<T>(name: string, f: (folder: string) => Promise<T>): Promise<T> {
  return inFolder(async (folder) => {
    await cp(labelled(name), folder, { recursive: true });
    return f(folder);
  });
}
