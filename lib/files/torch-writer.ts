import { type FileHandle, open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';

import { KueaError } from '../errors.js';
import type { StoredDtype, TensorBytes } from '../native/addon.js';
import { itemSizes } from './safetensors.js';

const storages: Record<StoredDtype, string> = { F64: 'DoubleStorage', F32: 'FloatStorage', F16: 'HalfStorage', BF16: 'BFloat16Storage' };

/** torch.load maps storages, which it wants to begin at multiples of this. */
const alignment = 64;
/** Beyond it a zip needs fields that nothing written here has a use for. */
const largest = 2 ** 32 - 1;
const chunk = 1 << 22;

const elements = (shape: readonly number[]) => shape.reduce((product, side) => product * side, 1);

/** Opcodes of pickle protocol 2 for values as torch.save writes them. */
const pickled = {
  integer: (value: number): Buffer => {
    const bytes = Buffer.alloc(5);
    bytes[0] = 0x4a; // BININT
    bytes.writeInt32LE(value, 1);
    return bytes;
  },
  text: (value: string): Buffer => {
    const utf8 = Buffer.from(value, 'utf8');
    const head = Buffer.alloc(5);
    head[0] = 0x58; // BINUNICODE
    head.writeUInt32LE(utf8.length, 1);
    return Buffer.concat([head, utf8]);
  },
  global: (module: string, name: string): Buffer => Buffer.from(`c${module}\n${name}\n`, 'latin1'),
  tuple: (...items: Buffer[]): Buffer => Buffer.concat([Buffer.from('('), ...items, Buffer.from('t')]),
};

/** A dict of names to tensors, each the whole of a storage of its own, row-major. */
function pickleOf(tensors: readonly { name: string; source: TensorBytes }[]): Buffer {
  const { integer, text, global, tuple } = pickled;
  const items = tensors.map(({ name, source: { dtype, shape } }, i) => {
    const storage = Buffer.concat([
      tuple(text('storage'), global('torch', storages[dtype]), text(String(i)), text('cpu'), integer(elements(shape))),
      Buffer.from('Q'),
    ]); // BINPERSID
    const strides = shape.map((_, axis) => elements(shape.slice(axis + 1)));
    const hooks = Buffer.concat([global('collections', 'OrderedDict'), Buffer.from(')R')]);
    const args = tuple(storage, integer(0), tuple(...shape.map(integer)), tuple(...strides.map(integer)), Buffer.from([0x89]), hooks);
    return Buffer.concat([text(name), global('torch._utils', '_rebuild_tensor_v2'), args, Buffer.from('R')]);
  });
  return Buffer.concat([Buffer.from('\x80\x02}(', 'latin1'), ...items, Buffer.from('u.')]);
}

interface Entry {
  name: Buffer;
  crc: number;
  size: number;
  /** Of its local header. */
  offset: number;
}

/** The fields that a local header and a directory's entry have in common, from the version that is needed to the length of the name. */
function fields({ name, crc, size }: Entry, extra: number): Buffer {
  const bytes = Buffer.alloc(26);
  // 1980-01-01: the same tensors always make the same file.
  bytes.writeUInt16LE(0x21, 8);
  bytes.writeUInt32LE(crc, 10);
  bytes.writeUInt32LE(size, 14);
  bytes.writeUInt32LE(size, 18);
  bytes.writeUInt16LE(name.length, 22);
  bytes.writeUInt16LE(extra, 24);
  return bytes;
}

/** A zip of stored entries. */
class Archive {
  private readonly entries: Entry[] = [];
  private end = 0;

  constructor(
    private readonly handle: FileHandle,
    private readonly file: string,
  ) {}

  /** `pieces` must yield `size` bytes in all. The header, with their checksum, is written when they have been. */
  async add(path: string, size: number, pieces: Iterable<Buffer> | AsyncIterable<Buffer>): Promise<void> {
    const entry: Entry = { name: Buffer.from(`archive/${path}`), crc: 0, size, offset: this.end };
    const bare = this.end + 30 + entry.name.length + 4;
    const padding = (alignment - (bare % alignment)) % alignment;
    let at = bare + padding;
    if (at + size > largest) throw new KueaError('too_large', `expected less than 4 GB of tensors for ${this.file}, found more`);
    for await (const piece of pieces) {
      entry.crc = crc32(piece, entry.crc);
      await this.write(piece, at);
      at += piece.length;
    }
    const extra = Buffer.alloc(4 + padding);
    extra.write('FB', 0, 'latin1');
    extra.writeUInt16LE(padding, 2);
    await this.write(Buffer.concat([Buffer.from('PK\x03\x04'), fields(entry, extra.length), entry.name, extra]), entry.offset);
    this.entries.push(entry);
    this.end = at;
  }

  async finish(): Promise<void> {
    const directory = Buffer.concat(
      this.entries.flatMap((entry) => {
        const rest = Buffer.alloc(14);
        rest.writeUInt32LE(entry.offset, 10);
        return [Buffer.from('PK\x01\x02\0\0'), fields(entry, 0), rest, entry.name];
      }),
    );
    const tail = Buffer.alloc(22);
    tail.write('PK\x05\x06', 0, 'latin1');
    tail.writeUInt16LE(this.entries.length, 8);
    tail.writeUInt16LE(this.entries.length, 10);
    tail.writeUInt32LE(directory.length, 12);
    tail.writeUInt32LE(this.end, 16);
    await this.write(Buffer.concat([directory, tail]), this.end);
    await this.handle.sync();
  }

  private async write(bytes: Buffer, position: number): Promise<void> {
    for (let done = 0; done < bytes.length; )
      done += (await this.handle.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
  }
}

async function* read(handle: FileHandle, { file, offset }: TensorBytes, size: number): AsyncGenerator<Buffer> {
  for (let done = 0; done < size; ) {
    const buffer = Buffer.alloc(Math.min(chunk, size - done));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, offset + done);
    if (bytesRead === 0) throw new KueaError('bad_weights', `expected ${size - done} more bytes of a tensor in ${file}, found its end`);
    done += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

/**
 * Writes row-major tensors of other files as torch.save does a state dict, so that torch.load reads them with weights_only. Bytes are
 * copied as they are. Synced; on failure the file may be there in part. Throws KueaError `too_large` above 4 GB, and what writing throws.
 */
export async function writeTorchFile(file: string, tensors: readonly { name: string; source: TensorBytes }[]): Promise<void> {
  const handle = await open(file, 'w');
  try {
    const archive = new Archive(handle, file);
    const whole = (path: string, bytes: Buffer) => archive.add(path, bytes.length, [bytes]);
    await whole('data.pkl', pickleOf(tensors));
    await whole('byteorder', Buffer.from('little'));
    for (const [i, { source }] of tensors.entries()) {
      const size = elements(source.shape) * itemSizes[source.dtype]!;
      const from = await open(source.file);
      try {
        await archive.add(`data/${i}`, size, read(from, source, size));
      } finally {
        await from.close();
      }
    }
    await whole('version', Buffer.from('3\n'));
    await archive.finish();
  } finally {
    await handle.close();
  }
}
