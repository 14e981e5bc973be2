import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';

import { expect } from 'chai';

import { type CacheKey, openCache, presentRows } from '../../../lib/embed/cache.js';
import { buildHeader } from '../../../lib/files/safetensors.js';
import type { CacheSpec } from '../../../lib/native/addon.js';

describe('the cache of frozen embeddings', () => {
  let work: string;
  beforeEach(() => {
    work = mkdtempSync(join(tmpdir(), 'kuea-cache-'));
  });
  afterEach(() => rmSync(work, { recursive: true, force: true }));

  const key: CacheKey = { student: 's', teacher: 't', preprocessing: 'p', data: 'd', precision: 'fp32' };
  const rows = 5;
  const dims: [number, number] = [3, 2];
  const all = Array.from({ length: rows }, (_, i) => i);
  const open = (change: Partial<CacheKey> = {}) => openCache(work, { ...key, ...change }, rows, dims);
  const present = ({ spec }: { spec: CacheSpec }, wanted = all) => presentRows(spec, wanted);

  /** Writes a row as the addon does. */
  function store({ file, original, teacher, checksums }: CacheSpec, row: number, value: number): void {
    const x = Buffer.from(new Float32Array(dims[0]).fill(value).buffer);
    const y = Buffer.from(new Float32Array(dims[1]).fill(-value).buffer);
    const sum = Buffer.alloc(4);
    sum.writeUInt32LE(crc32(y, crc32(x)));
    const fd = openSync(file, 'r+');
    writeSync(fd, x, 0, x.length, original + row * x.length);
    writeSync(fd, y, 0, y.length, teacher + row * y.length);
    writeSync(fd, sum, 0, 4, checksums + row * 4);
    closeSync(fd);
  }

  function overwrite({ file }: CacheSpec, position: number, bytes: Buffer): void {
    const fd = openSync(file, 'r+');
    writeSync(fd, bytes, 0, bytes.length, position);
    closeSync(fd);
  }

  it('is found again with its rows', async () => {
    const first = await open();
    expect(first).not.to.have.property('rebuilt');
    expect(await present(first)).to.equal(0);
    for (const row of [0, 2, 4]) store(first.spec, row, row + 1);
    const again = await open();
    expect(again).to.deep.equal(first);
    expect(await present(again)).to.equal(3);
    expect(await present(again, [2, 3])).to.equal(1);
    expect(readdirSync(work)).to.have.length(1);
  });

  it('of another key lies beside it, and says why none was used', async () => {
    const first = await open();
    store(first.spec, 0, 1);
    const other = await open({ precision: 'bf16' });
    expect(other.spec.file).not.to.equal(first.spec.file);
    expect(other.rebuilt).to.equal('it was made for precision fp32, this run has bf16');
    const third = await open({ precision: 'bf16', data: 'other' });
    expect(third.rebuilt).to.equal('it was made for data d, this run has other');
    const more = await openCache(work, key, rows + 1, dims);
    expect(more.rebuilt).to.equal('it has 5 rows, the data has 6 images');
    expect(readdirSync(work)).to.have.length(4);
    expect(await present(await open())).to.equal(1);
  });

  it('is one file for all that open it at the same time', async () => {
    const opened = await Promise.all(Array.from({ length: 4 }, () => open()));
    opened.forEach(({ spec }, i) => store(spec, i, 1));
    expect(await present(opened[0]!)).to.equal(4);
    expect(opened.filter(({ rebuilt }) => rebuilt)).to.deep.equal([]);
    expect(readdirSync(work)).to.have.length(1);
  });

  it('does not count a row whose bytes are not those that were stored: zeroed, changed, swapped, or cut off', async () => {
    const cache = await open();
    const { spec } = cache;
    const refill = () => all.forEach((row) => store(spec, row, row + 1));
    const zeros = Buffer.alloc(4 * dims[0]);
    const damage: [string, () => void][] = [
      ['embeddings of the student', () => overwrite(spec, spec.original + 4 * dims[0], zeros)],
      ['embeddings of the teacher', () => overwrite(spec, spec.teacher + 4 * dims[1], zeros.subarray(0, 4 * dims[1]))],
      ['a bit', () => overwrite(spec, spec.teacher + 4 * dims[1] + 3, Buffer.from([0x3f]))],
      ['checksum', () => overwrite(spec, spec.checksums + 4, Buffer.from([0, 0, 0, 0]))],
      ['another row', () => overwrite(spec, spec.original + 4 * dims[0], Buffer.from(new Float32Array(dims[0]).fill(1).buffer))],
    ];
    for (const [what, spoil] of damage) {
      refill();
      expect(await present(cache)).to.equal(rows);
      spoil();
      expect(await present(cache), what).to.equal(rows - 1);
      expect(await present(cache, [1]), what).to.equal(0);
    }
    refill();
    truncateSync(spec.file, spec.checksums + 8);
    expect(await present(cache)).to.equal(2);
  });

  it('that cannot be read is made anew, and says why', async () => {
    const { spec } = await open();
    store(spec, 0, 1);
    truncateSync(spec.file, 100);
    const anew = await open();
    expect(anew.rebuilt).to.match(/^it cannot be read \(.*\)$/);
    expect(await present(anew)).to.equal(0);
    expect(await present(await open())).to.equal(0);
  });

  describe('of version 0.1', () => {
    /** Rows 0 and 1 whole, of 2 the flag alone, of 3 half a row, of 4 nothing. */
    function writeFormer(made: CacheKey): void {
      const entries = [
        { name: 'original', dtype: 'F32', shape: [rows, dims[0]] },
        { name: 'teacher', dtype: 'F32', shape: [rows, dims[1]] },
        { name: 'present', dtype: 'U8', shape: [rows] },
      ] as const;
      const x = new Float32Array(rows * dims[0]).map((_, i) => (i < 2 * dims[0] || i === 3 * dims[0] ? i + 1 : 0));
      const y = new Float32Array(rows * dims[1]).map((_, i) => (i < 2 * dims[1] || i >= 3 * dims[1] ? i + 1 : 0));
      const flags = Uint8Array.of(1, 1, 1, 1, 0);
      const parts = [buildHeader(entries, { ...made }), Buffer.from(x.buffer), Buffer.from(y.buffer), flags];
      writeFileSync(join(work, 'embeddings.safetensors'), Buffer.concat(parts));
    }

    it('gives its rows, but for those that a power cut may have left zeros in', async () => {
      writeFormer(key);
      const cache = await open();
      expect(cache).not.to.have.property('rebuilt');
      expect(await present(cache)).to.equal(2);
      expect(await present(cache, [0, 1])).to.equal(2);
      const { file, original, teacher } = cache.spec;
      const bytes = readFileSync(file);
      expect(bytes.readFloatLE(original + 4 * dims[0])).to.equal(dims[0] + 1);
      expect(bytes.readFloatLE(teacher + 4 * dims[1])).to.equal(dims[1] + 1);
      expect(await present(await open())).to.equal(2);
    });

    it('of another key, or damaged, gives none', async () => {
      writeFormer({ ...key, precision: 'bf16' });
      expect(await present(await open())).to.equal(0);
      writeFileSync(join(work, 'embeddings.safetensors'), 'old');
      expect(await present(await open({ data: 'other' }))).to.equal(0);
    });
  });

  it('leaves nothing of a killed one, and other files alone', async () => {
    mkdirSync(join(work, '.embeddings-0.safetensors.partial-abcdef'));
    writeFileSync(join(work, 'notes'), '');
    const { spec } = await open();
    expect(readdirSync(work).map((name) => join(work, name))).to.have.members([spec.file, join(work, 'notes')]);
    expect(readFileSync(spec.file).length).to.equal(spec.checksums + 4 * rows);
  });

  it('says so where none can be', async () => {
    writeFileSync(join(work, 'file'), '');
    const error = await openCache(join(work, 'file'), key, rows, dims).catch((thrown: unknown) => thrown);
    expect(error).to.have.property('code', 'bad_out');
    expect((error as Error).message).to.match(/--cache off$/);
  });
});
