import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

import { expect } from 'chai';

import { align } from '../../lib/align/align.js';
import { openCache, presentRows } from '../../lib/embed/cache.js';
import { openWeights } from '../../lib/models/open.js';
import type { CacheSpec, ClipVisionArch, Dinov2Arch, NativeTrainer } from '../../lib/native/addon.js';
import { loadAddon } from '../../lib/native/load.js';
import { packageRoot } from '../../lib/package.js';

const rows = 24;
const stored = 16;

describe('the embedding cache of a trainer', () => {
  let work: string;
  let trainer: NativeTrainer;
  let spec: CacheSpec;
  /** The file, all of whose `stored` rows are right, and as it was when it was made. */
  let full: Buffer;
  let empty: Buffer;

  before(async () => {
    work = mkdtempSync(join(tmpdir(), 'kuea-rows-'));
    const student = await openWeights(join(packageRoot(), 'configs/demo/clip'), { role: 'student' });
    const teacher = await openWeights(join(packageRoot(), 'configs/demo/dinov2'), { role: 'teacher' });
    const [clip, dinov2] = [student.arch as ClipVisionArch, teacher.arch as Dinov2Arch];
    trainer = await loadAddon().openTrainer({
      student: { arch: clip, weights: student.plan, mean: student.mean, std: student.std },
      teacher: { arch: dinov2, weights: teacher.plan, mean: teacher.mean, std: teacher.std },
      teacherDim: dinov2.width,
      teacherSize: clip.imageSize,
      kernel: { kind: 'polynomial', gamma: 0.0032, c: 0.19, sigma: 8.7, sigmaTeacher: 15.8 },
      trainKernel: true,
      w: 0.5,
      lossBackend: 'fused',
      precision: 'fp32',
      device: 'cpu',
      optimizer: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 1e-4 },
      maxGradNorm: 0,
      batchSize: 1,
      microBatch: 1,
      activationCheckpointing: false,
      slots: 1,
      distributed: false,
      kernelScope: 'global',
    });
    const key = { student: '', teacher: '', preprocessing: '', data: '', precision: '' };
    ({ spec } = await openCache(work, key, rows, [clip.embedDim, dinov2.width]));
    empty = readFileSync(spec.file);
    await trainer.openCache(spec);
    for (let row = 0; row < stored; row++) expect(await embed(row)).to.equal(1);
    full = readFileSync(spec.file);
  });
  after(async () => {
    await trainer?.close();
    rmSync(work, { recursive: true, force: true });
  });

  /** How many of the one image were computed: pixels are a row's own. */
  function embed(row: number): Promise<number> {
    const slot = trainer.slots[0]!;
    for (let i = 0; i < slot.length; i++) slot[i] = (i * (row + 3) + ((i * i) >> 7)) & 255;
    return trainer.embed({ slot: 0, count: 1, rows: Uint32Array.of(row) });
  }

  it('writes what its TypeScript reader counts, with the checksum of zlib', async () => {
    const all = Array.from({ length: rows }, (_, i) => i);
    expect(await presentRows(spec, all)).to.equal(stored);
    for (let row = 0; row < stored; row++) expect(await embed(row)).to.equal(0);
  });

  it('whichever sectors a power cut keeps: a row is right or absent, for both readers, and is computed again', async () => {
    let random = 7;
    const draw = () => (random = (random * 48271) % 2147483647) / 2147483647;
    const sector = 512;
    let lost = 0;
    for (const share of [0, 0.02, 0.1, 0.3, 0.7, 1]) {
      const state = Buffer.from(full);
      for (let at = spec.original; at < state.length; at += sector) {
        if (draw() < share) empty.copy(state, at, at, Math.min(at + sector, state.length));
      }
      const file = join(work, `state-${share}`);
      writeFileSync(file, state);
      await trainer.openCache({ ...spec, file });
      for (let row = 0; row < stored; row++) {
        const isRight = [
          [spec.original, (spec.teacher - spec.original) / rows],
          [spec.teacher, (spec.checksums - spec.teacher) / rows],
          [spec.checksums, 4],
        ].every(([offset, size]) => {
          const at = offset! + row * size!;
          return state.subarray(at, at + size!).equals(full.subarray(at, at + size!));
        });
        if (!isRight) lost++;
        expect(await presentRows({ ...spec, file }, [row]), `row ${row}, ${share} lost`).to.equal(isRight ? 1 : 0);
        expect(await embed(row), `row ${row}, ${share} lost`).to.equal(isRight ? 0 : 1);
      }
      expect(readFileSync(file).equals(full), `${share} lost, computed again`).to.equal(true);
    }
    expect(lost).to.be.greaterThan(stored);
  });

  it('is synced before a checkpoint that was trained on it gets its name', async () => {
    const order: string[] = [];
    const { open, rename } = fs;
    fs.open = async (path, ...more) => {
      const handle = await open(path, ...more);
      const { sync } = handle;
      return Object.assign(handle, {
        sync: () => {
          order.push(`sync ${basename(String(path))}`);
          return sync.call(handle);
        },
      });
    };
    fs.rename = (from, to) => {
      order.push(`name ${basename(String(to))}`);
      return rename(from, to);
    };
    syncBuiltinESMExports();
    try {
      const demo = (name: string) => join(packageRoot(), 'configs/demo', name);
      const data = join(packageRoot(), 'test/golden/align/pixels.safetensors');
      const options = {
        student: demo('clip'),
        teacher: demo('dinov2'),
        data,
        out: join(work, 'run'),
        batchSize: 4,
        steps: 1,
        warmupSteps: 0,
      };
      await align(options).result;
    } finally {
      Object.assign(fs, { open, rename });
      syncBuiltinESMExports();
    }
    const [cache] = readdirSync(join(work, 'run/cache'));
    const stored = order.lastIndexOf(`sync ${cache}`);
    expect(stored).to.be.greaterThan(order.indexOf(`name ${cache}`));
    expect(order.indexOf('name step-000001')).to.be.greaterThan(stored);
  });

  it('refuses a file that is shorter than its layout', async () => {
    const file = join(work, 'short');
    copyFileSync(spec.file, file);
    writeFileSync(file, full.subarray(0, full.length - 1));
    const error = await trainer.openCache({ ...spec, file }).catch((thrown: unknown) => thrown);
    expect(error).to.have.property('code', 'bad_cache');
  });
});
