import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { KueaError } from '../../errors.js';
import { copyCompanions, writeJson, writeWhole } from '../../files/output.js';
import { buildHeader, itemSizes } from '../../files/safetensors.js';
import type { Addon, LoadStep, StoredDtype, WriteStep } from '../../native/addon.js';
import { rowsOf } from '../key-map.js';
import { hfConfig, originalConfig } from './export-config.js';
import { languagePairs, prefixes, projectorPairs } from './keys.js';
import type { LlavaWeights } from './open.js';
import { tokenizerCompanions, writeHfProcessor } from './processor.js';
import { towerTensors } from './tower.js';

export interface MergeOptions {
  /** Put the vision tower into the original layout too; llava-hf's always has it. Default: only when no config could name it. */
  includeTower?: boolean;
  /** A file's tensors at most; Hugging Face's default is 5 GB. */
  shardBytes?: number;
}

interface Entry {
  name: string;
  dtype: StoredDtype;
  shape: number[];
  steps: WriteStep[];
}

const bytesOf = ({ dtype, shape }: Entry) => shape.reduce((product, side) => product * side, itemSizes[dtype]!);

/** The language model and the projector, the adapter added to the linear maps, the embeddings and the head with `rows` rows. */
function languageEntries(llava: LlavaWeights, target: 'original' | 'hf-old', rows: number): Entry[] {
  const { llama, vision, weights } = llava.model;
  const sources = new Map(weights.map(({ parameter, source }) => [parameter, source]));
  const lora = new Map(llava.adapter?.weights.map(({ parameter, source }: LoadStep) => [parameter, source]));
  return [...languagePairs(llama, target), ...projectorPairs(vision.width, llama.width, target)].map(({ name, shape, stored }): Entry => {
    const source = sources.get(name)!;
    const { dtype } = source;
    const entry = { name: stored[0]!, dtype };
    const [a, b] = ['A', 'B'].map((part) => lora.get(name.replace(/weight$/, `lora_${part}.weight`)));
    if (a && b) return { ...entry, shape, steps: [{ source, dtype, merge: { a, b, scale: llava.adapter!.alpha / llava.adapter!.rank } }] };
    if (name !== 'model.embed_tokens.weight' && name !== 'lm_head.weight') return { ...entry, shape, steps: [{ source, dtype }] };
    const kept = Math.min(rows, shape[0]!);
    const steps: WriteStep[] = [{ source: rowsOf(source, 0, kept), dtype }];
    // New tokens are copies of <unk>: an answer that never had it will not have them.
    const strides = [0, source.strides?.[1] ?? 1];
    if (rows > kept) steps.push({ source: { ...rowsOf(source, 0, rows - kept), strides }, dtype });
    return { ...entry, shape: [rows, llama.width], steps };
  });
}

function towerEntries({ tower }: LlavaWeights, prefix: string): Entry[] {
  return towerTensors(tower, 'all').map(({ name, source }) => ({
    name: prefix + name,
    dtype: source.dtype,
    shape: source.shape,
    steps: [{ source, dtype: source.dtype }],
  }));
}

/** model.safetensors, or several and their index. */
async function writeShards(addon: Pick<Addon, 'writeTensors'>, folder: string, entries: Entry[], shardBytes: number): Promise<void> {
  const shards: Entry[][] = [];
  let room = 0;
  for (const entry of entries) {
    const bytes = bytesOf(entry);
    if (bytes > room || shards.length === 0) {
      shards.push([]);
      room = shardBytes;
    }
    shards.at(-1)!.push(entry);
    room -= bytes;
  }
  const number = (n: number) => String(n).padStart(5, '0');
  const fileOf = (i: number) =>
    shards.length === 1 ? 'model.safetensors' : `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
  for (const [i, shard] of shards.entries()) {
    await addon.writeTensors(
      join(folder, fileOf(i)),
      buildHeader(shard, { format: 'pt' }),
      shard.flatMap(({ steps }) => steps),
    );
  }
  if (shards.length === 1) return;
  const weightMap = Object.fromEntries(shards.flatMap((shard, i) => shard.map(({ name }) => [name, fileOf(i)])));
  await writeJson(folder, 'model.safetensors.index.json', {
    metadata: { total_size: entries.reduce((sum, entry) => sum + bytesOf(entry), 0) },
    weight_map: weightMap,
  });
}

/**
 * Writes a LLaVA with its adapter added (W + alpha / r B A in fp32, then in W's dtype), to the new folder `out`: `original` as its authors'
 * code reads it, `hf` as transformers' LlavaForConditionalGeneration does (old key names, which newer versions read too). One tensor is in
 * memory at a time. `out` is whole or absent. Throws KueaError `exists`, `unsupported_merge`, `disk_full`.
 */
export async function mergeAdapter(
  addon: Pick<Addon, 'writeTensors'>,
  llava: LlavaWeights,
  out: string,
  to: 'original' | 'hf',
  options: MergeOptions = {},
): Promise<void> {
  const { includeTower = llava.tower.ref === null, shardBytes = 5e9 } = options;
  const { llama, feature } = llava.model;
  if (to === 'hf' && feature === 'ln_post') {
    throw new KueaError(
      'unsupported_merge',
      `expected features without the tower's last norm for --to hf, found ${llava.ref} with ln_post, which transformers' LLaVA does not ` +
        `compute: use --to original`,
    );
  }
  await writeWhole(out, async (folder) => {
    await mkdir(folder);
    if (to === 'original') {
      const rows = Math.min(llama.vocabulary, llava.imageToken ?? llama.vocabulary);
      const tower = includeTower ? towerEntries(llava, prefixes.original.vision) : [];
      await writeShards(addon, folder, [...languageEntries(llava, 'original', rows), ...tower], shardBytes);
      await writeJson(folder, 'config.json', originalConfig(llava, rows));
      await copyCompanions(llava.folder, folder, tokenizerCompanions);
      return;
    }
    const imageToken = llava.imageToken ?? llama.vocabulary;
    // As llava-hf does: <image> and <pad>, to a multiple of 64.
    const rows = llava.imageToken === undefined ? 64 * Math.ceil((imageToken + 2) / 64) : llama.vocabulary;
    await writeShards(
      addon,
      folder,
      [...towerEntries(llava, prefixes['hf-old'].vision), ...languageEntries(llava, 'hf-old', rows)],
      shardBytes,
    );
    await writeJson(folder, 'config.json', hfConfig(llava, rows, imageToken));
    await writeHfProcessor(llava, folder, imageToken);
  });
}
