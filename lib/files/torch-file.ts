import type { FileHandle } from 'node:fs/promises';

import { KueaError, named } from '../errors.js';
import { openRegular, readAt } from '../regular-file.js';
import { PickleGlobal, PickleObject, type PickleRules, Unpickler } from './pickle.js';
import type { StoredTensor, Tensors } from './tensors.js';
import { readZip, type ZipEntry } from './zip.js';

/** Bytes and safetensors' name of what each storage class holds. */
const storages = new Map<string, [dtype: string, itemSize: number]>([
  ['DoubleStorage', ['F64', 8]],
  ['FloatStorage', ['F32', 4]],
  ['HalfStorage', ['F16', 2]],
  ['BFloat16Storage', ['BF16', 2]],
  ['LongStorage', ['I64', 8]],
  ['IntStorage', ['I32', 4]],
  ['ShortStorage', ['I16', 2]],
  ['CharStorage', ['I8', 1]],
  ['ByteStorage', ['U8', 1]],
  ['BoolStorage', ['BOOL', 1]],
]);

const legacyMagic = 0x1950a86a20f9469cfc6cn;
/** A state dict's pickle is names and numbers; a larger one is no state dict. */
const largestPickle = 1 << 28;
/** Storages of a file, and sides of a tensor (libtorch's limit), at most. */
const mostStorages = 1 << 17;
const mostDimensions = 64;
/** Of a tensor's name in bytes, and dicts within dicts around it. */
const longestName = 4096;
const deepest = 100;

class Storage {
  constructor(
    readonly key: string,
    readonly dtype: string,
    /** In bytes. */
    readonly itemSize: number,
  ) {}
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
const isCounts = (v: unknown): v is number[] => Array.isArray(v) && v.length <= mostDimensions && v.every(isCount);
const isPairs = (v: unknown): v is [unknown, unknown][] => Array.isArray(v) && v.every((pair) => Array.isArray(pair) && pair.length === 2);
const isStorage = (v: unknown): v is Storage => v instanceof Storage;

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
        (storages.has(name) || /^(Size|device|float(16|32|64)|bfloat16|half|double|u?int(8|16|32|64)|long|bool)$/.test(name))) ||
      (module === 'torch.jit._pickle' && /^(build_(int|bool|double|tensor)list|restore_type_tag)$/.test(name)) ||
      module === '__torch__' ||
      module.startsWith('__torch__.'),
    call: (global, args) => {
      switch (global.path) {
        case 'collections.OrderedDict':
          return isPairs(args[0] ?? []) ? new Map(args[0] as [unknown, unknown][] | undefined) : fail('an OrderedDict is made of no pairs');
        case 'torch._utils._rebuild_tensor_v2': {
          const [storage, offset, shape, strides] = args;
          if (!isStorage(storage) || !isCount(offset) || !isCounts(shape) || !isCounts(strides) || shape.length !== strides.length)
            return fail('a tensor is described in a way that torch.save does not write');
          return new TensorRecord(storage, offset, shape, strides);
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
      const known = type instanceof PickleGlobal ? storages.get(type.name) : undefined;
      if (tag !== 'storage' || !known || typeof key !== 'string' || !isCount(length))
        return fail('it refers to a storage of an unknown kind');
      return new Storage(key, ...known);
    },
  };
}

const wrappers = ['state_dict', 'model', 'vision_encoder_state_dict', 'teacher', 'model_state_dict'];

/**
 * Dotted names of all tensors below a value; containers and TorchScript objects are walked without recursion, each once. Only text and
 * numbers are names: what a dict holds under other keys is no weight.
 */
function flatten(root: unknown, file: string): Map<string, TensorRecord> {
  const found = new Map<string, TensorRecord>();
  const seen = new Set<unknown>();
  const queue = [{ value: root, path: '', depth: 0 }];
  for (let next = 0; next < queue.length; next++) {
    const { path, depth } = queue[next]!;
    const held = queue[next]!.value;
    const value = held instanceof PickleObject ? held.state : held;
    if (value instanceof TensorRecord) {
      if (!found.has(path)) found.set(path, value);
    } else if (value instanceof Map && !seen.has(value)) {
      seen.add(value);
      for (const [key, child] of value) {
        if (typeof key !== 'string' && typeof key !== 'number') continue;
        if (!(child instanceof TensorRecord || child instanceof PickleObject || child instanceof Map)) continue;
        if (depth === deepest || path.length + String(key).length >= longestName)
          throw new KueaError('bad_pickle', `${file} is not a sound PyTorch file: its dicts are nested too deep, or its names too long`);
        queue.push({ value: child, path: path ? `${path}.${key}` : String(key), depth: depth + 1 });
      }
    }
  }
  return found;
}

/** The state dict within what was saved: `{state_dict: ...}` and the like are opened, `module.` and `_orig_mod.` taken off. */
function stateDict(root: unknown, file: string): Map<string, TensorRecord> {
  let value = root;
  // One within another, as often as there are kinds; a dict may also hold itself.
  for (let depth = 0; depth < wrappers.length && value instanceof Map; depth++) {
    const dict: Map<unknown, unknown> = value;
    const name = wrappers.find((w) => dict.get(w) instanceof Map);
    if (name === undefined) break;
    value = dict.get(name);
  }
  const tensors = flatten(value, file);
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
      `${file} is not a sound PyTorch file: its tensor ${named(name)} needs ${(offset + reach) * storage.itemSize} bytes of storage ` +
        `${named(storage.key)}, found ${at?.size ?? 0}; fetch it again`,
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
  const { handle, size } = await openRegular(file);
  try {
    const zipped = (await readAt(handle, 0, 4)).equals(Buffer.from('PK\x03\x04'));
    const { root, at, torchScript } = zipped
      ? await readArchive(handle, size, file)
      : { ...(await readLegacy(handle, size, file)), torchScript: false };
    const tensors: Tensors = new Map();
    for (const [name, record] of stateDict(root, file)) tensors.set(name, locate(file, name, record, at(record.storage.key)));
    if (tensors.size === 0 && expect === 'tensors') throw new KueaError('bad_weights', `expected a state dict in ${file}, found no tensor`);
    return { tensors, torchScript };
  } finally {
    await handle.close();
  }
}

type Located = { root: unknown; at: (key: string) => { offset: number; size: number } | undefined };

async function readArchive(handle: FileHandle, fileSize: number, file: string): Promise<Located & { torchScript: boolean }> {
  const entries = await readZip(handle, fileSize, file);
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
    return readAt(handle, offset, size);
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
async function readLegacy(handle: FileHandle, size: number, file: string): Promise<Located> {
  const head = await readAt(handle, 0, Math.min(size, largestPickle));
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
  const broken = (why: string) => new KueaError('bad_archive', `${file} is not a sound PyTorch file: ${why}; fetch it again`);
  if (!Array.isArray(keys) || keys.length > mostStorages) throw broken('it does not list its storages');
  for (const key of keys as unknown[]) {
    const itemSize = sizes.get(key as string);
    if (itemSize === undefined || places.has(key as string)) throw broken(`it lists a storage ${named(key)} that no tensor has, or twice`);
    const counter = await readAt(handle, end, 8);
    const bytes = counter.length < 8 ? Infinity : Number(counter.readBigUInt64LE()) * itemSize;
    if (end + 8 + bytes > size) throw broken(`its storage ${named(key)} reaches past the end of the file, which is truncated`);
    places.set(key as string, { offset: end + 8, size: bytes });
    end += 8 + bytes;
  }
  return { root, at: (key) => places.get(key) };
}
