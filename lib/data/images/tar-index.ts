import { Header, Pax } from 'tar';

import { KueaError, named } from '../../errors.js';
import { openRegular, readAt } from '../../regular-file.js';

/** A regular file in a tar: its path, and where its bytes lie in the tar. */
export interface TarMember {
  path: string;
  offset: number;
  size: number;
}

const block = 512;
/** Read at a time: a header, and what often follows at once (a caption, a label, the next header). */
const window = 8 * block;
/** A long name or a pax header of more bytes is an attack on the memory; tar's own limit. */
const largestText = 1 << 20;

/** Undefined when the numbers in it are none. */
function headerAt(raw: Buffer, local?: Pax, global?: Pax): Header | undefined {
  try {
    return new Header(raw, 0, local, global);
  } catch {
    return undefined;
  }
}

/**
 * Lists the regular files of a tar (ustar, GNU and pax long names) by reading its headers only. Throws KueaError `gzip_shard` for a
 * compressed one, `truncated_shard` when a member goes past the end of the file, and `bad_shard` when a header is damaged; each names
 * the shard, and the offset where there is one.
 */
export async function indexTar(file: string): Promise<TarMember[]> {
  const { handle, size: end } = await openRegular(file);
  try {
    const buffer = Buffer.alloc(window);
    let start = 0;
    let filled = 0;
    const truncated = (at: number, path?: string) =>
      new KueaError(
        'truncated_shard',
        `expected ${path ? `member ${named(path)}` : 'a whole header'} at offset ${at} of ${file}, found the end of the file at ${end}: ` +
          `the shard is truncated, fetch it again`,
      );

    /** `length` bytes at `at`, from the buffer if they are in it. */
    const bytes = async (at: number, length: number): Promise<Buffer> => {
      if (at >= start && at + length <= start + filled) return buffer.subarray(at - start, at - start + length);
      if (length > window) return readAt(handle, at, length);
      start = at;
      ({ bytesRead: filled } = await handle.read(buffer, 0, window, at));
      return buffer.subarray(0, Math.min(length, filled));
    };

    const members: TarMember[] = [];
    let local: Pax | undefined;
    let global: Pax | undefined;
    let longPath: string | undefined;
    for (let at = 0; at < end; ) {
      const raw = await bytes(at, block);
      if (at === 0 && raw[0] === 0x1f && raw[1] === 0x8b) {
        throw new KueaError(
          'gzip_shard',
          `expected an uncompressed tar, found gzip in ${file}: images are read at random, so unpack it with gunzip first`,
        );
      }
      if (raw.length < block) throw truncated(at);
      const header = headerAt(raw, local, global);
      if (header?.nullBlock) break;
      if (!header?.cksumValid)
        throw new KueaError(
          'bad_shard',
          `expected a tar header at offset ${at} of ${file}, found other bytes: the shard is damaged or not a tar`,
        );
      const size = header.size ?? 0;
      const body = at + block;
      const path = longPath ?? header.path ?? '';
      if (body + size > end) throw truncated(at, path);
      at = body + Math.ceil(size / block) * block;

      const text = async () => {
        if (size > largestText)
          throw new KueaError(
            'bad_shard',
            `expected a name of at most ${largestText} bytes at offset ${body} of ${file}, found ${size}: the shard is damaged`,
          );
        return (await bytes(body, size)).toString('utf8');
      };
      if (header.type === 'ExtendedHeader') local = Pax.parse(await text(), local, false);
      else if (header.type === 'GlobalExtendedHeader') global = Pax.parse(await text(), global, true);
      else if (header.type === 'NextFileHasLongPath' || header.type === 'OldGnuLongPath') longPath = (await text()).replace(/\0.*/s, '');
      else {
        if (header.type === 'File' || header.type === 'OldFile' || header.type === 'ContiguousFile')
          members.push({ path, offset: body, size });
        local = longPath = undefined;
      }
    }
    return members;
  } finally {
    await handle.close();
  }
}
