import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildHeader, readSafetensors } from '../../lib/files/safetensors.js';
import { openLlava } from '../../lib/models/llava/open.js';
import type { LlavaSpec, LoraMetrics, LoraTrainerSpec, MicroBatch, NativeLoraTrainer } from '../../lib/native/addon.js';
import { loadAddon } from '../../lib/native/load.js';
import { packageRoot } from '../../lib/package.js';

export interface Sample {
  /** -200 where an image feature is. */
  tokens: number[];
  labels: number[];
  images: number;
  /** uint8 [images, 3, 28, 28], base64. */
  pixels: string;
}

/** What scripts/golden/llava_trace.py wrote. */
export interface Trace {
  samples: Sample[];
  losses: number[];
  ln_post: number;
  grad_norm: number;
  fp32_errors: Record<string, number>;
  updates: { lr: number; projector_lr: number; weight_decay: number; max_grad_norm: number; trace: { loss: number; grad_norm: number }[] };
  generation: number[][];
  nf4: number[];
}

export const folder = join(packageRoot(), 'test/golden/llava-trace');
export const trace = JSON.parse(readFileSync(join(folder, 'trace.json'), 'utf8')) as Trace;
/** Patches an image, bytes of an image. */
const patches = 4;
const imageBytes = 3 * 28 * 28;

const opened = openLlava(join(folder, 'model'), { adapter: join(folder, 'adapter0') });

export async function llavaSpec(changed: Partial<LlavaSpec> = {}): Promise<LlavaSpec> {
  const { model, adapter } = await opened;
  return {
    ...model,
    basePrecision: 'fp32',
    precision: 'fp32',
    device: 'cpu',
    lora: { rank: adapter!.rank, alpha: adapter!.alpha, weights: adapter!.weights, seed: 0 },
    ...changed,
  };
}

/** An open trainer with room for 4 images, and what the tests do with it. */
export class Trainer {
  static async open(changed: Partial<LoraTrainerSpec> = {}, model: Partial<LlavaSpec> = {}): Promise<Trainer> {
    const spec: LoraTrainerSpec = {
      model: await llavaSpec(model),
      dropout: 0,
      seed: 7,
      trainProjector: true,
      optimizer: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0 },
      maxGradNorm: 0,
      gradientCheckpointing: false,
      offload: false,
      slots: 1,
      imagesPerSlot: 8,
      pixels: 'u8',
      distributed: false,
      ...changed,
    };
    return new Trainer(await loadAddon().openLoraTrainer(spec));
  }

  private constructor(readonly native: NativeLoraTrainer) {}

  /** Samples of the trace laid end to end, their images in slot 0, each weighted by 1 / its labels. */
  batch(samples: number[], denominator = samples.length): MicroBatch {
    const chosen = samples.map((i) => trace.samples[i]!);
    let images = 0;
    for (const { pixels } of chosen) {
      const bytes = Buffer.from(pixels, 'base64');
      this.native.slots[0]!.set(bytes, images * imageBytes);
      images += bytes.length / imageBytes;
    }
    const join = (lists: number[][]) => Int32Array.from(lists.flat());
    const labelled = (labels: number[]) => labels.slice(1).filter((label) => label >= 0).length;
    return {
      slot: 0,
      images,
      tokens: join(chosen.map(({ tokens }) => tokens)),
      labels: join(chosen.map(({ labels }) => labels)),
      lengths: Int32Array.from(chosen, ({ tokens }) => tokens.length),
      imageRows: Int32Array.from({ length: images * patches }, (_, i) => i),
      weights: Float32Array.from(chosen, ({ labels }) => 1 / Math.max(1, labelled(labels))),
      sampleKeys: Uint32Array.from(samples),
      denominator,
    };
  }

  /** All samples of the trace in these groups, and an update. */
  async update(groups: number[][], { lr = 0, projectorLr = 0 } = {}): Promise<LoraMetrics> {
    for (const group of groups) await this.native.accumulate(this.batch(group));
    return (await this.native.update({ lr, projectorLr, log: true }))!;
  }

  /** All trained tensors (or moments) by name, through a file. */
  async tensors(state: 'value' | 'exp_avg' | 'exp_avg_sq' = 'value'): Promise<Map<string, Float32Array>> {
    const work = await mkdtemp(join(tmpdir(), 'kuea-lora-'));
    try {
      const { parameters } = this.native;
      const file = join(work, 'tensors.safetensors');
      const header = buildHeader(parameters.map(({ name, shape }) => ({ name, dtype: 'F32', shape })));
      await this.native.write(
        file,
        header,
        parameters.map(({ name }) => ({ parameter: name, state })),
      );
      return await floats(file);
    } finally {
      await rm(work, { recursive: true });
    }
  }

  /** What tensors() gave for each state, back again. */
  async restore(states: Record<'value' | 'exp_avg' | 'exp_avg_sq', Map<string, Float32Array>>, step: number): Promise<void> {
    const work = await mkdtemp(join(tmpdir(), 'kuea-lora-'));
    try {
      const file = join(work, 'bytes');
      let offset = 0;
      const plan = Object.entries(states).flatMap(([state, tensors]) =>
        this.native.parameters.map(({ name, shape }) => {
          const source = { file, offset, dtype: 'F32' as const, shape };
          offset += tensors.get(name)!.byteLength;
          return { parameter: name, state: state as 'value', source };
        }),
      );
      await writeFile(
        file,
        Buffer.concat(
          Object.values(states).flatMap((tensors) => this.native.parameters.map(({ name }) => Buffer.from(tensors.get(name)!.buffer))),
        ),
      );
      await this.native.restore(plan, step);
    } finally {
      await rm(work, { recursive: true });
    }
  }

  close(): Promise<void> {
    return this.native.close();
  }
}

/** The F32 tensors of a file. */
export async function floats(file: string): Promise<Map<string, Float32Array>> {
  const bytes = await readFile(file);
  const { tensors } = await readSafetensors(file);
  const read = ({ offset, shape }: { offset: number; shape: number[] }) =>
    new Float32Array(bytes.buffer.slice(bytes.byteOffset + offset, bytes.byteOffset + offset + 4 * shape.reduce((a, b) => a * b, 1)));
  return new Map([...tensors].map(([name, tensor]) => [name, read(tensor)]));
}

/** Largest difference, relative to the largest of the expected numbers. */
export function difference(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (found.length !== expected.length) throw new Error(`expected ${expected.length} numbers, found ${found.length}`);
  let largest = 0;
  let most = 0;
  for (let i = 0; i < expected.length; i++) {
    largest = Math.max(largest, Math.abs(expected[i]!));
    most = Math.max(most, Math.abs(found[i]! - expected[i]!));
  }
  return most / largest;
}
