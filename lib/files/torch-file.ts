import { type FileHandle, open } from 'node:fs/promises';

import { KueaError } from '../errors.js';
import { PickleGlobal, PickleObject, type PickleRules, Unpickler } from './pickle.js';
import type { StoredTensor, Tensors } from './tensors.js';
import { readZip, type ZipEntry } from './zip.js';

/** Bytes and safetensors' name of what each storage class holds. */
const storages: Record<string, [dtype: string, itemSize: number]> = {
  DoubleStorage: ['F64', 8],
  FloatStorage: ['F32', 4],
  HalfStorage: ['F16', 2],
  BFloat16Storage: ['BF16', 2],
  LongStorage: ['I64', 8],
  IntStorage: ['I32', 4],
  ShortStorage: ['I16', 2],
  CharStorage: ['I8', 1],
  ByteStorage: ['U8', 1],
  BoolStorage: ['BOOL', 1],
};

const legacyMagic = 0x1950a86a20f9469cfc6cn;
/** A state dict's pickle is names and numbers; a larger one is no state dict. */
const largestPickle = 1 << 28;

interface Storage {
  key: string;
  dtype: string;
  itemSize: number;
  /** In elements. */
  length: number;
}

class TensorRecord {
  constructor(
    readonly storage: Storage,
    readonly offset: number,
    readonly shape: number[],
    readonly strides: number[],
  ) {}
}

const isCount = (v: unknown): v is number => Number.isSafeInteger(v) && (v as number) >= 0;
const isCounts = (v: unknown): v is number[] => Array.isArray(v) && v.every(isCount);

/** What torch.save and torch.jit.save name, and what we make of it. Everything else is refused. */
function rules(file: string): PickleRules {
  const fail = (why: string): never => {
    throw new KueaError('bad_pickle', `${file} is not a sound PyTorch file: ${why}; fetch it again, or convert it to safetensors`);
  };
  return {
    allows: ({ module, name }) =>
      (module === 'collections' && name === 'OrderedDict') ||
      (module === 'torch._utils' && ['_rebuild_tensor_v2', '_rebuild_parameter'].includes(name)) ||
      (module === 'torch' &&
        (name in storages || /^(Size|device|float(16|32|64)|bfloat16|half|double|u?int(8|16|32|64)|long|bool)$/.test(name))) ||
      (module === 'torch.jit._pickle' && /^(build_(int|bool|double|tensor)list|restore_type_tag)$/.test(name)) ||
      module === '__torch__' ||
      module.startsWith('__torch__.'),
    call: (global, args) => {
      switch (global.path) {
        case 'collections.OrderedDict':
          return new Map((args[0] as [unknown, unknown][] | undefined) ?? []);
        case 'torch._utils._rebuild_tensor_v2': {
          const [storage, offset, shape, strides] = args;
          if (
            typeof storage !== 'object' ||
            storage === null ||
            !('key' in storage) ||
            !isCount(offset) ||
            !isCounts(shape) ||
            !isCounts(strides) ||
            shape.length !== strides.length
          ) {
            return fail('a tensor is described in a way that torch.save does not write');
          }
          return new TensorRecord(storage as Storage, offset, shape, strides);
        }
        case 'torch._utils._rebuild_parameter':
        case 'torch.jit._pickle.restore_type_tag':
        case 'torch.Size':
          return args[0];
        default:
          return global.module === 'torch.jit._pickle' ? args[0] : new PickleObject(global, args);
      }
    },
    persistent: (id) => {
      const [tag, type, key, , length] = Array.isArray(id) ? id : [];
      const known = type instanceof PickleGlobal ? storages[type.name] : undefined;
      if (tag !== 'storage' || !known || typeof key !== 'string' || !isCount(length))
        return fail('it refers to a storage of an unknown kind');
      return { key, dtype: known[0], itemSize: known[1], length } satisfies Storage;
    },
  };
}

const wrappers = ['state_dict', 'model', 'vision_encoder_state_dict', 'teacher', 'model_state_dict'];

/** Dotted names of all tensors below a value; containers and TorchScript objects are walked without recursion, each once. */
function flatten(root: unknown): Map<string, TensorRecord> {
  const found = new Map<string, TensorRecord>();
  const seen = new Set<unknown>();
  const queue: { value: unknown; path: string }[] = [{ value: root, path: '' }];
  for (let next = queue.shift(); next; next = queue.shift()) {
    const { path } = next;
    const value = next.value instanceof PickleObject ? next.value.state : next.value;
    if (value instanceof TensorRecord) {
      if (!found.has(path)) found.set(path, value);
    } else if (value instanceof Map && !seen.has(value)) {
      seen.add(value);
      for (const [key, child] of value) queue.push({ value: child, path: path ? `${path}.${String(key)}` : String(key) });
    }
  }
  return found;
}

/** The state dict within what was saved: `{state_dict: ...}` and the like are opened, `module.` and `_orig_mod.` taken off. */
function stateDict(root: unknown): Map<string, TensorRecord> {
  let value = root;
  for (let inner = value; inner instanceof Map; ) {
    value = inner;
    const name = wrappers.find((w) => inner instanceof Map && inner.get(w) instanceof Map);
    if (name === undefined) break;
    inner = inner.get(name) as unknown;
    value = inner;
  }
  const tensors = flatten(value);
  const names = [...tensors.keys()];
  const prefix = ['module.', '_orig_mod.'].find((p) => names.length > 0 && names.every((name) => name.startsWith(p)));
  return prefix ? new Map([...tensors].map(([name, tensor]) => [name.slice(prefix.length), tensor])) : tensors;
}

function rowMajor(shape: number[], strides: number[]): boolean {
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== expected) return false;
    expected *= shape[i]!;
  }
  return true;
}

/** Where a record's bytes lie, given where its storage does. */
function locate(file: string, name: string, record: TensorRecord, at: { offset: number; size: number } | undefined): StoredTensor {
  const { storage, offset, shape, strides } = record;
  const reach = shape.some((side) => side === 0) ? 0 : shape.reduce((last, side, i) => last + (side - 1) * strides[i]!, 1);
  if (!at || (offset + reach) * storage.itemSize > at.size) {
    throw new KueaError(
      'bad_archive',
      `${file} is not a sound PyTorch file: its tensor ${name} needs ${(offset + reach) * storage.itemSize} bytes of storage ` +
        `${storage.key}, found ${at?.size ?? 0}; fetch it again`,
    );
  }
  const tensor: StoredTensor = { file, offset: at.offset + offset * storage.itemSize, dtype: storage.dtype, shape };
  if (!rowMajor(shape, strides)) tensor.strides = strides;
  return tensor;
}

export interface TorchFile {
  tensors: Tensors;
  /** Whether it is a TorchScript archive, as OpenAI's CLIP files are. */
  torchScript: boolean;
}

/**
 * Tensors of a .pt, .pth or .bin: a state dict from torch.save (zip or legacy), bare or within a checkpoint, or a TorchScript archive.
 * Nothing in the file is run. Throws KueaError `forbidden_pickle`, `bad_pickle`, `bad_archive` or `file_not_found`, and `bad_weights` when
 * there is no tensor and should be one.
 */
export async function readTorchFile(file: string, expect: 'tensors' | 'may be empty' = 'tensors'): Promise<TorchFile> {
  const handle = await open(file).catch((cause: unknown) => {
    throw new KueaError('file_not_found', `cannot open ${file}: ${(cause as Error).message}`, { cause });
  });
  try {
    const start = Buffer.alloc(4);
    await handle.read(start, 0, 4, 0);
    const zipped = start.readUInt32LE(0) === 0x04034b50;
    const { root, at, torchScript } = zipped
      ? await readArchive(handle, file)
      : { ...(await readLegacy(handle, file)), torchScript: false };
    const tensors: Tensors = new Map();
    for (const [name, record] of stateDict(root)) tensors.set(name, locate(file, name, record, at(record.storage.key)));
    if (tensors.size === 0 && expect === 'tensors') throw new KueaError('bad_weights', `expected a state dict in ${file}, found no tensor`);
    return { tensors, torchScript };
  } finally {
    await handle.close();
  }
}

type Located = { root: unknown; at: (key: string) => { offset: number; size: number } | undefined };

async function readArchive(handle: FileHandle, file: string): Promise<Located & { torchScript: boolean }> {
  const entries = await readZip(handle, file);
  const pickle = [...entries].find(([name]) => /^[^/]+\/data\.pkl$/.test(name));
  if (!pickle) throw new KueaError('bad_archive', `expected a PyTorch file, found a zip without data.pkl: ${file}`);
  const prefix = pickle[0].slice(0, -'data.pkl'.length);
  const stored = (name: string, entry: ZipEntry) => {
    if (!entry.stored)
      throw new KueaError(
        'bad_archive',
        `expected ${name} of ${file} to be stored as it is, found it compressed: torch.save does not do that; save it again, or convert ` +
          `it to safetensors`,
      );
    return entry;
  };
  const bytes = async (name: string, entry: ZipEntry) => {
    const { offset, size } = stored(name, entry);
    if (size > largestPickle) throw new KueaError('bad_pickle', `${file} has a pickle of ${size} bytes, more than any state dict needs`);
    const buffer = Buffer.alloc(size);
    await handle.read(buffer, 0, size, offset);
    return buffer;
  };
  const order = entries.get(`${prefix}byteorder`);
  if (order && (await bytes('byteorder', order)).toString('latin1') !== 'little')
    throw new KueaError('bad_archive', `${file} was written on a big-endian machine: convert it to safetensors there`);
  const storageAt = (name: string) => {
    const entry = entries.get(name);
    return entry && stored(name, entry);
  };
  const root = new Unpickler(await bytes(...pickle), rules(file), file).load();
  return { root, at: (key) => storageAt(`${prefix}data/${key}`), torchScript: entries.has(`${prefix}constants.pkl`) };
}

/** Before 1.6: five pickles in a row, then each storage as a count and its elements. */
async function readLegacy(handle: FileHandle, file: string): Promise<Located> {
  const { size } = await handle.stat();
  const head = Buffer.alloc(Math.min(size, largestPickle));
  await handle.read(head, 0, head.length, 0);
  let end = 0;
  const sizes = new Map<string, number>();
  const known = rules(file);
  const next = () => {
    const unpickler = new Unpickler(
      head,
      {
        ...known,
        persistent: (id) => {
          const storage = known.persistent(id) as Storage;
          sizes.set(storage.key, storage.itemSize);
          return storage;
        },
      },
      file,
      end,
    );
    const value = unpickler.load();
    end = unpickler.end;
    return value;
  };
  const notTorch = () => new KueaError('bad_pickle', `expected a file of torch.save, found something else: ${file}`);
  let magic: unknown;
  try {
    magic = next();
  } catch {
    throw notTorch();
  }
  if (magic !== legacyMagic) throw notTorch();
  next();
  next();
  const root = next();
  const keys = next();
  const places = new Map<string, { offset: number; size: number }>();
  const counter = Buffer.alloc(8);
  for (const key of Array.isArray(keys) ? keys : []) {
    await handle.read(counter, 0, 8, end);
    const bytes = Number(counter.readBigUInt64LE()) * (sizes.get(String(key)) ?? 1);
    if (end + 8 + bytes > size)
      throw new KueaError(
        'bad_archive',
        `${file} is not a sound PyTorch file: its storage ${String(key)} reaches past the end of the file, which is truncated; fetch ` +
          `it again`,
      );
    places.set(String(key), { offset: end + 8, size: bytes });
    end += 8 + bytes;
  }
  return { root, at: (key) => places.get(key) };
}
