import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from 'chai';

import type { Addon, KernelLossResult, KernelSpec } from '../../lib/native/addon.js';
import { packageRoot } from '../../lib/package.js';

/** A golden of scripts/golden/kernel_loss.py: fp32 inputs, float64 results. */
export interface Case extends Omit<KernelSpec, 'kind'> {
  name: string;
  kind: KernelSpec['kind'];
  n: number;
  d: number;
  dt: number;
  x: string;
  y: string;
  loss: number;
  dx: string;
  dgamma: number;
  dc: number;
  dsigma: number;
}

export const { cases } = JSON.parse(readFileSync(join(packageRoot(), 'test/golden/kernel-loss/cases.json'), 'utf8')) as { cases: Case[] };
export const find = (name: string) => cases.find((c) => c.name === name)!;

export function floats(base64: string): Float32Array {
  const bytes = Buffer.from(base64, 'base64');
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
}

type Part = Omit<KernelLossResult, 'seconds'>;
type Call = Parameters<Addon['kernelLoss']>[0];

/** What kernelLoss is called with for a golden. */
export function callOf(c: Case, backend: Call['backend'], change: Partial<KernelSpec> = {}, x = floats(c.x), gradient = true): Call {
  const kernel: KernelSpec = { kind: c.kind, gamma: c.gamma, c: c.c, sigma: c.sigma, sigmaTeacher: c.sigmaTeacher, ...change };
  return { x, y: floats(c.y), n: c.n, d: c.d, dt: c.dt, kernel, backend, gradient };
}

export const norm = (v: Float32Array) => Math.sqrt(v.reduce((sum, value) => sum + value * value, 0));
export const distance = (a: Float32Array, b: Float32Array) => norm(a.map((value, i) => value - b[i]!));

export function expectGolden(result: Part, c: Case): void {
  // A loss is a mean of squares of differences of numbers near 1: its absolute error is about 1e-7 of the root of the loss.
  expect(result.loss).to.be.closeTo(c.loss, 2e-5 * c.loss + 1e-9);
  const dx = floats(c.dx);
  expect(distance(result.dx!, dx), 'dX').to.be.at.most(1e-4 * norm(dx) + 1e-9);
  // dgamma = -c / gamma * dc: where c is 0 the plain form is left with the rounding of two sums as large as dc.
  const close = (key: 'dgamma' | 'dc' | 'dsigma') =>
    expect(result[key], key).to.be.closeTo(c[key], 2e-4 * Math.abs(c[key]) + 1e-4 * Math.abs(c.dc) + 1e-8);
  if (c.kind === 'polynomial') ['dgamma' as const, 'dc' as const].forEach(close);
  if (c.kind === 'gaussian') close('dsigma');
}

/** How many of n rows each of several ranks has. */
export const evenly = (n: number, ranks: number) =>
  Array.from({ length: ranks }, (_, rank) => Math.floor(((rank + 1) * n) / ranks) - Math.floor((rank * n) / ranks));

/** The whole, of which each rank has summands and its rows of dX. */
export function addParts(parts: Part[]): Part {
  const sum = (key: 'loss' | 'dgamma' | 'dc' | 'dsigma') => parts.reduce((total, part) => total + part[key], 0);
  return {
    loss: sum('loss'),
    dgamma: sum('dgamma'),
    dc: sum('dc'),
    dsigma: sum('dsigma'),
    dx: Float32Array.from(parts.flatMap(({ dx }) => Array.from(dx!))),
  };
}

/** Whether two results are the same to the bit. */
export function sameBits(a: KernelLossResult, b: KernelLossResult): boolean {
  const bytes = (v: Float32Array) => Buffer.from(v.buffer, v.byteOffset, v.byteLength);
  return (
    a.loss === b.loss && a.dgamma === b.dgamma && a.dc === b.dc && a.dsigma === b.dsigma && Buffer.compare(bytes(a.dx!), bytes(b.dx!)) === 0
  );
}
