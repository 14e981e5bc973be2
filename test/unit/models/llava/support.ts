import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

import { expect } from 'chai';
import type { Json } from '../../../../lib/models/model-folder.js';
import type { LoadStep, TensorBytes } from '../../../../lib/native/addon.js';
import { packageRoot } from '../../../../lib/package.js';

const goldens = join(packageRoot(), 'test/golden/llava-layouts');
export const golden = (name: string) => join(goldens, name);

interface Manifest {
  rank: number;
  alpha: number;
  /** Rows of the original's embeddings and of llava-hf's. */
  vocabulary: number;
  rows: number;
  /** SHA-256 of every parameter's bytes; `tall` with llava-hf's rows. */
  parameters: Record<string, string>;
  tall: Record<string, string>;
  lora: Record<string, string>;
  projector: Record<string, string>;
  /** What peft's merge gives, fp32, base64. */
  merged: Record<string, string>;
}
export const manifest = JSON.parse(readFileSync(golden('manifest.json'), 'utf8')) as Manifest;

/** The bytes of a row-major tensor. */
export function bytesOf({ file, offset, dtype, shape, strides }: TensorBytes): Buffer {
  expect(strides).to.equal(undefined);
  return readFileSync(file).subarray(offset, offset + shape.reduce((product, side) => product * side, dtype === 'F16' ? 2 : 4));
}

/** SHA-256 of each parameter's bytes, by a plan. */
export function hashes(plan: readonly LoadStep[]): Record<string, string> {
  const parts = new Map<string, LoadStep[]>();
  for (const step of plan) parts.set(step.parameter, [...(parts.get(step.parameter) ?? []), step]);
  return Object.fromEntries(
    Array.from(parts, ([name, steps]) => {
      const hash = createHash('sha256');
      for (const { source } of steps.sort((a, b) => (a.row ?? 0) - (b.row ?? 0))) hash.update(bytesOf(source));
      return [name, hash.digest('hex')];
    }),
  );
}

/** What LLaVA computes: not the tower's last block, its projection, and its last norm only when it is asked for. */
export function expected(rows: number, feature: 'hidden' | 'ln_post' = 'hidden'): Record<string, string> {
  const all = { ...manifest.parameters, ...(rows === manifest.rows ? manifest.tall : {}) };
  const computed = (name: string) =>
    name !== 'vision.proj' &&
    !name.startsWith('vision.transformer.resblocks.1.') &&
    (feature === 'ln_post' || !name.startsWith('vision.ln_post.'));
  return Object.fromEntries(Object.entries(all).filter(([name]) => computed(name)));
}

/** A copy of a golden below `work`, beside a copy of the tower, with some of a JSON file changed; undefined takes a key out. */
export function changed(work: string, path: string, change: Json, file = 'config.json'): string {
  const folder = mkdtempSync(join(work, 'case-'));
  cpSync(golden('tower-hf'), join(folder, 'tower-hf'), { recursive: true });
  const copy = join(folder, basename(path));
  cpSync(dirname(path) === '.' ? golden(path) : path, copy, { recursive: true });
  writeFileSync(join(copy, file), JSON.stringify({ ...(JSON.parse(readFileSync(join(copy, file), 'utf8')) as Json), ...change }));
  return copy;
}

export async function failure(promise: Promise<unknown>): Promise<{ code: string; message: string }> {
  try {
    await promise;
  } catch (error) {
    expect((error as Error).message, 'one line').to.not.include('\n');
    return error as { code: string; message: string };
  }
  throw new Error('expected a failure, found none');
}
