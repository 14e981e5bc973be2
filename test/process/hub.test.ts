import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { writeScenes } from '../../lib/demo/scenes.js';
import { FakeHub, sendFile, sendJson } from '../fake-hub.js';
import { endAll, root, said, start } from './support.js';

const fetching = join(root, 'dist/test/process/fetching.js');
const filesOf = (folder: string) => Object.fromEntries(readdirSync(folder).map((file) => [file, readFileSync(join(folder, file))]));
const clip = filesOf(join(root, 'configs/demo/clip'));
const dinov2 = filesOf(join(root, 'configs/demo/dinov2'));

describe('one hub model in several processes', () => {
  let work: string;
  let hub: FakeHub;
  before(async () => {
    hub = await FakeHub.start();
    hub.commit('acme/clip', clip);
    hub.commit('acme/dinov2', dinov2);
  });
  after(() => hub.close());
  beforeEach(() => {
    work = mkdtempSync(join(tmpdir(), 'kuea-hub-processes-'));
    hub.reset();
  });
  afterEach(() => {
    endAll();
    rmSync(work, { recursive: true, force: true });
  });

  const env = () => ({ HF_ENDPOINT: hub.url, HF_HOME: work, HF_HUB_CACHE: '', HF_TOKEN: '', HF_HUB_OFFLINE: '' });
  const once = (name: string, files: object) => Object.fromEntries(Object.keys(files).map((file) => [`${name}/${file}`, 1]));
  const blobs = () => readdirSync(join(work, 'hub/models--acme--clip/blobs'));

  it('is downloaded once by three that start with a cold cache', async () => {
    // All three ask before the first has its answer.
    const waiting: ServerResponse[] = [];
    hub.script(/revision/, (_, response) => {
      if (waiting.push(response) === 3) for (const one of waiting) sendJson(one, { sha: hub.repositories.get('acme/clip')!.commit });
    });
    const all = [1, 2, 3].map(() => start(['acme/clip'], env(), fetching));
    for (const one of all) expect(await one.ended, one.stderr).to.equal(0);
    const folder = join(work, 'hub/models--acme--clip/snapshots', hub.repositories.get('acme/clip')!.commit);
    expect(all.map(({ stdout, stderr }) => stdout + stderr)).to.deep.equal(Array(3).fill(`${folder}\n`));
    expect(hub.downloads()).to.deep.equal(once('acme/clip', clip));
    expect(blobs()).to.have.length(Object.keys(clip).length);
    for (const [file, content] of Object.entries(clip)) expect(readFileSync(join(folder, file)).equals(content), file).to.equal(true);
  });

  it('is taken over from one that was killed, where it was', async () => {
    let stalled: () => void;
    const stall = new Promise<void>((resolve) => (stalled = resolve));
    hub.script(
      /resolve.*model\.safetensors/,
      (_, response, file) => response.writeHead(200).write(file!.content.subarray(0, 1_000_000), () => stalled()),
      1,
    );
    const first = start(['acme/clip'], env(), fetching);
    await stall;
    const second = start(['acme/clip'], env(), fetching);
    const partial = () => blobs().find((blob) => blob.endsWith('.kuea-incomplete'));
    const has = () => (partial() ? readFileSync(join(work, 'hub/models--acme--clip/blobs', partial()!)).length : 0);
    while (has() === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    first.child.kill('SIGKILL');
    await first.ended;
    expect(await second.ended, second.stderr).to.equal(0);
    expect(hub.downloads()).to.deep.equal({ ...once('acme/clip', clip), 'acme/clip/model.safetensors': 2 });
    expect(hub.asked.findLast(({ path }) => path.endsWith('model.safetensors'))!.range).to.match(/^bytes=[1-9]\d*-$/);
    expect(readFileSync(join(second.stdout.trim(), 'model.safetensors')).equals(clip['model.safetensors']!)).to.equal(true);
    expect(partial()).to.equal(undefined);
  });

  it('is downloaded once by four ranks with a cold cache', async () => {
    await writeScenes(join(work, 'photos'), 8, 3, 64);
    hub.script(/resolve/, (request, response, file) => setTimeout(() => sendFile(request, response, file), 100));
    const options = ['--data', join(work, 'photos'), '--out', join(work, 'run'), '--batch-size', '8', '--steps', '1', '--json'];
    const run = start(['--student', 'acme/clip', '--teacher', 'acme/dinov2', ...options, '--nproc', '4'], env());
    expect(await run.ended, run.stderr).to.equal(0);
    await said(run, /"type":"done"/);
    for (const line of run.stdout.trim().split('\n')) expect(() => JSON.parse(line), line).to.not.throw();
    expect(hub.downloads()).to.deep.equal({ ...once('acme/clip', clip), ...once('acme/dinov2', dinov2) });
  });
});
