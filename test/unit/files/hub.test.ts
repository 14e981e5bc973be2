import { mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';

import { expect } from 'chai';

import { isHubId } from '../../../lib/files/hub/fetch.js';
import { fetchModel } from '../../../lib/models/fetch-model.js';
import { withEnvironment } from '../../environment.js';
import { cutAfter, FakeHub, refuse, sendChunked, sendFile, sendJson } from '../../fake-hub.js';

const name = 'acme/clip';
const weights = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7919) >> 3));
const files = { 'config.json': '{"a":1}', 'preprocessor_config.json': '{"b":2}', 'model.safetensors': weights, 'README.md': 'x' };
const token = 'hf_secretsecretsecret';

describe('the hub', () => {
  let work: string;
  let hub: FakeHub;
  let other: FakeHub;
  let commit: string;
  before(async () => {
    hub = await FakeHub.start();
    other = await FakeHub.start();
  });
  after(() => Promise.all([hub.close(), other.close()]));
  beforeEach(() => {
    work = mkdtempSync(join(tmpdir(), 'kuea-hub-'));
    hub.reset();
    other.reset();
    commit = hub.commit(name, files);
  });
  afterEach(() => rmSync(work, { recursive: true, force: true }));

  const cache = (...names: string[]) => join(work, 'home', 'hub', ...names);
  const repository = (...names: string[]) => cache('models--acme--clip', ...names);
  const here = (more: Record<string, string | undefined> = {}) => ({
    HF_ENDPOINT: hub.url,
    HF_HOME: join(work, 'home'),
    HF_HUB_CACHE: undefined,
    HUGGINGFACE_HUB_CACHE: undefined,
    HF_TOKEN: token,
    HF_TOKEN_PATH: undefined,
    HF_HUB_OFFLINE: undefined,
    ...more,
  });
  const fetch = (ref = name, options: Parameters<typeof fetchModel>[1] = {}, more = {}) =>
    withEnvironment(here(more), () => fetchModel(ref, options));
  async function refusal(fetched: Promise<string>): Promise<{ code: string; message: string }> {
    const error = await fetched.catch((e: unknown) => e as { code: string; message: string });
    if (typeof error === 'string') throw new Error(`expected a failure, found ${error}`);
    expect(error.message).to.not.include(token).and.not.include('\n');
    return error;
  }
  const failure = (ref?: string, more = {}) => refusal(fetch(ref, {}, more));
  const blobs = () => readdirSync(repository('blobs'));
  const whole = (folder: string) => expect(readFileSync(join(folder, 'model.safetensors')).equals(weights)).to.equal(true);

  describe('fetches', () => {
    it("what a model needs, as Hugging Face's own cache has it, once", async () => {
      const folder = await fetch();
      expect(folder).to.equal(repository('snapshots', commit));
      expect(readdirSync(folder).sort()).to.deep.equal(['config.json', 'model.safetensors', 'preprocessor_config.json']);
      whole(folder);
      const { oid, lfs } = hub.repositories.get(name)!.files.get('model.safetensors')!.entry as { oid: string; lfs: { oid: string } };
      expect(oid).to.have.length(40);
      expect(readlinkSync(join(folder, 'model.safetensors'))).to.equal(join('..', '..', 'blobs', lfs.oid));
      expect(readlinkSync(join(folder, 'config.json'))).to.match(/^\.\.\/\.\.\/blobs\/[0-9a-f]{40}$/);
      expect(blobs()).to.have.length(3);
      expect(readFileSync(repository('refs', 'main'), 'utf8')).to.equal(commit);

      hub.reset();
      expect(await fetch()).to.equal(folder);
      expect(hub.asked.map(({ path }) => path.split('?')[0])).to.deep.equal([`/api/models/${name}/revision/main`]);
      hub.reset();
      expect(await fetch(`${name}@${commit}`)).to.equal(folder);
      expect(hub.asked).to.deep.equal([]);
    });

    it('all files of one commit, also when another comes meanwhile', async () => {
      hub.script(/resolve.*config\.json/, (request, response, file) => {
        hub.commit(name, { ...files, 'model.safetensors': 'of the next commit' });
        sendFile(request, response, file);
      });
      hub.script(/resolve.*model\.safetensors/, (request, response) => {
        expect(request.url).to.include(commit);
        response.writeHead(200).end(weights);
      });
      whole(await fetch());
    });

    it('the next commit of a branch, and shares the blobs', async () => {
      await fetch(`${name}@some/branch`);
      const next = hub.commit(name, { ...files, 'config.json': '{"a":2}' });
      hub.asked.length = 0;
      const folder = await fetch(`${name}@some/branch`);
      expect(folder).to.equal(repository('snapshots', next));
      expect(readFileSync(join(folder, 'config.json'), 'utf8')).to.equal('{"a":2}');
      whole(folder);
      expect(hub.downloads()).to.deep.equal({ [`${name}/config.json`]: 1 });
      expect(readFileSync(repository('refs', 'some', 'branch'), 'utf8')).to.equal(next);
    });

    it('the shards of an index, an adapter, or the shape alone', async () => {
      const shards = { 'model-00001-of-00002.safetensors': 'a', 'model-00002-of-00002.safetensors': 'b' };
      hub.commit('acme/big', {
        ...shards,
        'model.safetensors.index.json': '{}',
        'pytorch_model-00001-of-00001.bin': 'c',
        'config.json': '{}',
      });
      expect(readdirSync(await fetch('acme/big')).sort()).to.deep.equal([
        'config.json',
        ...Object.keys(shards),
        'model.safetensors.index.json',
      ]);
      hub.commit('acme/adapter', { 'adapter_config.json': '{}', 'adapter_model.bin': 'd', 'non_lora_trainables.bin': 'e', 'x.bin': 'f' });
      expect(readdirSync(await fetch('acme/adapter', { files: 'adapter' })).sort()).to.deep.equal([
        'adapter_config.json',
        'adapter_model.bin',
        'non_lora_trainables.bin',
      ]);
      expect(readdirSync(await fetch(name, { files: 'config' })).sort()).to.deep.equal(['config.json', 'preprocessor_config.json']);
      expect(await failure('acme/adapter')).to.include({ code: 'bad_weights' });
    });

    it('a list of several pages', async () => {
      const entries = Array.from(hub.repositories.get(name)!.files.values(), ({ entry }) => entry);
      hub.script(/tree/, (request, response) =>
        request.url!.includes('cursor')
          ? sendJson(response, entries.slice(2))
          : sendJson(response, entries.slice(0, 2), { Link: `<${hub.url}${request.url}&cursor=1>; rel="next"` }),
      );
      whole(await fetch());
    });

    it('and tells how far it is, and stops when it is told', async () => {
      const said: unknown[] = [];
      await fetch(name, { onProgress: (progress) => said.push(progress) });
      expect(said).to.deep.equal([
        { file: 'config.json', received: 7, total: 7 },
        { file: 'preprocessor_config.json', received: 7, total: 7 },
        { file: 'model.safetensors', received: 300_000, total: 300_000 },
      ]);
      rmSync(work, { recursive: true });
      const stop = new AbortController();
      const reason = new Error('enough');
      hub.script(/resolve.*model/, (_, response) => {
        response.writeHead(200).write(weights.subarray(0, 1000));
        stop.abort(reason);
      });
      expect(await fetch(name, { signal: stop.signal }).catch((e: unknown) => e)).to.equal(reason);
      // While it waits before it tries again, too.
      const later = new AbortController();
      hub.reset();
      hub.script(/resolve.*model/, (_, response) => {
        response.destroy();
        setTimeout(() => later.abort(reason), 100);
      });
      expect(await fetch(name, { signal: later.signal }).catch((e: unknown) => e)).to.equal(reason);
    });
  });

  describe('offline', () => {
    it('a full cache will do: with HF_HUB_OFFLINE nothing is asked for', async () => {
      const folder = await fetch();
      hub.reset();
      expect(await fetch(name, {}, { HF_HUB_OFFLINE: '1' })).to.equal(folder);
      expect(hub.asked).to.deep.equal([]);
    });

    it('a full cache will do when the hub is down', async () => {
      const folder = await fetch();
      expect(await fetch(name, {}, { HF_ENDPOINT: 'http://127.0.0.1:9' })).to.equal(folder);
      hub.script(/./, refuse(503));
      expect(await fetch()).to.equal(folder);
    });

    it('a cache that huggingface_hub filled will do', async () => {
      const folder = await fetch();
      rmSync(repository('.kuea'), { recursive: true });
      expect(await fetch(name, {}, { HF_HUB_OFFLINE: 'yes' })).to.equal(folder);
      // Read-only, and the hub there: nothing is missing, and what cannot be kept is not.
      rmSync(cache('.locks'), { recursive: true });
      symlinkSync('/sys', cache('.locks'));
      expect(await fetch()).to.equal(folder);
      rmSync(join(folder, 'model.safetensors'));
      expect(await failure(name, { HF_HUB_OFFLINE: '1' })).to.include({ code: 'hub_offline' });
      expect(await failure(name)).to.include({ code: 'hub_cache' });
    });

    it('says what is not there', async () => {
      expect(await failure(name, { HF_HUB_OFFLINE: '1' }))
        .to.include({ code: 'hub_offline' })
        .and.property('message')
        .include(`${name} in the cache ${cache()}`);
      expect(hub.asked).to.deep.equal([]);
      await fetch(name, { files: 'config' });
      expect((await failure(name, { HF_HUB_OFFLINE: '1' })).message).to.include('model.safetensors of it is not');
      expect(await failure('acme/other', { HF_ENDPOINT: 'http://127.0.0.1:9' })).to.include({ code: 'hub_unreachable' });
    });
  });

  describe('the variables', () => {
    const asked = () => [...new Set(hub.asked.map(({ authorization }) => authorization))];

    it('name the cache and the token as they do for huggingface_hub', async () => {
      expect(await fetch(name, {}, { HF_HUB_CACHE: join(work, 'elsewhere'), HF_TOKEN: undefined })).to.include(join(work, 'elsewhere'));
      expect(asked()).to.deep.equal([undefined]);
      hub.reset();
      mkdirSync(join(work, 'home'), { recursive: true });
      writeFileSync(join(work, 'home', 'token'), 'hf_saved\n');
      await fetch(name, {}, { HF_TOKEN: undefined });
      expect(asked()).to.deep.equal(['Bearer hf_saved']);
      hub.reset();
      writeFileSync(join(work, 'token'), 'of-a-mirror');
      await fetch(name, {}, { HF_TOKEN: undefined, HF_TOKEN_PATH: join(work, 'token') });
      expect(asked()).to.deep.equal(['Bearer of-a-mirror']);
      hub.reset();
      await fetch();
      expect(asked()).to.deep.equal([`Bearer ${token}`]);
    });

    it('are not shown when they are wrong', async () => {
      expect(await failure(name, { HF_TOKEN: `${token}\nmore` })).to.include({ code: 'bad_option' });
      const error = await failure(name, { HF_ENDPOINT: `https://me:${token}@hub.example` });
      expect(error).to.include({ code: 'bad_option' });
      expect(await failure(name, { HF_ENDPOINT: 'file:///etc' })).to.include({ code: 'bad_option' });
    });
  });

  describe('compares bytes', () => {
    const harmed = Buffer.from(weights);
    harmed.fill(0, 100_000, 120_000);

    it('refuses a wrong hash and keeps nothing of it', async () => {
      hub.script(/resolve.*model/, sendChunked(harmed), 1);
      const error = await failure();
      expect(error).to.include({ code: 'hub_corrupt' });
      expect(error.message).to.match(
        /model\.safetensors of acme\/clip does not come .* expected the hash [0-9a-f]{64}, found [0-9a-f]{64}/,
      );
      expect(blobs()).to.have.length(2);
      whole(await fetch());
      rmSync(work, { recursive: true });
      hub.script(/resolve.*\/config/, sendChunked(Buffer.from('{"a":9}')), 1);
      expect((await failure()).message).to.match(/config\.json .* expected the hash [0-9a-f]{40}, found/);
      whole(await fetch());
    });

    it('refuses a short body, and more than there is, and gives up when nothing comes', async () => {
      hub.commit('acme/lost', files);
      hub.script(/clip\/resolve.*model/, sendChunked(weights.subarray(0, 200_000)));
      hub.script(/lost\/resolve.*model/, cutAfter(0));
      // At once: both wait between their attempts.
      const both = () => Promise.all([refusal(fetchModel(name)), refusal(fetchModel('acme/lost'))]);
      const [error, lost] = await withEnvironment(here(), both);
      expect(lost).to.include({ code: 'hub_unreachable' });
      expect(hub.downloads()['acme/lost/model.safetensors']).to.equal(5);
      expect(error).to.include({ code: 'hub_corrupt' });
      expect(error.message).to.include('expected 300000 bytes, found 200000');
      expect(readdirSync(repository('snapshots', commit))).to.not.include('model.safetensors');
      hub.reset();
      whole(await fetch());
      expect(hub.asked.at(-1)!.range).to.equal('bytes=200000-');
      rmSync(work, { recursive: true });
      hub.script(/resolve.*model/, sendChunked(Buffer.concat([weights, weights])));
      expect((await failure()).message).to.include('expected 300000 bytes, found more');
    });

    it('goes on where a connection was cut', async () => {
      hub.script(/resolve.*model/, cutAfter(100_000), 2);
      whole(await fetch());
      const starts = hub.asked.filter(({ path }) => /resolve.*model/.test(path)).map(({ range }) => Number(range?.match(/\d+/) ?? 0));
      expect(starts).to.have.length(3);
      expect(starts[1]).to.be.within(1, 100_000);
      expect(starts[2]).to.be.within(starts[1]! + 1, 200_000);
    });

    it('begins again where the hub gives all bytes, and refuses those of another place', async () => {
      hub.script(/resolve.*model/, cutAfter(100_000), 1);
      hub.script(/resolve.*model/, sendChunked(weights), 1);
      whole(await fetch());
      rmSync(work, { recursive: true });
      hub.script(/resolve.*model/, cutAfter(100_000), 1);
      hub.script(/resolve.*model/, (_, response) => response.writeHead(206, { 'Content-Range': 'bytes 0-9/300000' }).end('0123456789'));
      expect(await failure()).to.include({ code: 'hub_corrupt' });
    });

    it('goes on where an earlier process was, unless that is worth nothing', async () => {
      hub.script(/resolve.*model/, cutAfter(150_000), 1);
      hub.script(/resolve.*model/, refuse(403), 1);
      expect(await failure()).to.include({ code: 'hub_denied' });
      const partial = repository('blobs', blobs().find((blob) => blob.endsWith('.kuea-incomplete'))!);
      expect(readFileSync(partial).length).to.be.within(1, 150_000);
      writeFileSync(partial, harmed.subarray(0, 150_000));
      hub.reset();
      whole(await fetch());
      expect(hub.asked.filter(({ path }) => /resolve.*model/.test(path)).map(({ range }) => range)).to.deep.equal([
        'bytes=150000-',
        undefined,
      ]);
      expect(blobs()).to.have.length(3);
    });

    it('fetches again what is too short in the cache', async () => {
      const folder = await fetch();
      const blob = repository('blobs', basename(readlinkSync(join(folder, 'model.safetensors'))));
      writeFileSync(blob, weights.subarray(0, 1000));
      hub.reset();
      whole(await fetch());
      expect(hub.downloads()).to.deep.equal({ [`${name}/model.safetensors`]: 1 });
    });
  });

  describe('trusts no answer', () => {
    it('shows the token to no other origin', async () => {
      const entries = Array.from(hub.repositories.get(name)!.files.values(), ({ entry }) => entry);
      hub.script(/tree/, (_, response) => sendJson(response, entries.slice(0, 2), { Link: `<${other.url}/more>; rel="next"` }));
      other.script(/more/, (_, response) => sendJson(response, entries.slice(2)));
      hub.script(/resolve/, (request, response) => {
        const headers = { Location: `${other.url}${request.url}`, Link: `<${other.url}/xet>; rel="xet-auth"`, 'X-Xet-Hash': 'abc' };
        response.writeHead(302, headers).end();
      });
      other.script(/resolve/, (request, response) => {
        const file = hub.repositories.get(name)!.files.get(request.url!.split('/').at(-1)!);
        response.setHeader('X-Cache', 'Hit from cloudfront');
        sendFile(request, response, file);
      });
      whole(await fetch());
      expect(hub.asked.every(({ authorization }) => authorization === `Bearer ${token}`)).to.equal(true);
      expect(other.asked.map(({ path }) => path.split('/').at(-1))).to.deep.equal([
        'more',
        'config.json',
        'preprocessor_config.json',
        'model.safetensors',
      ]);
      expect(other.asked.map(({ authorization }) => authorization)).to.deep.equal([undefined, undefined, undefined, undefined]);
    });

    const entry = (path: string) => hub.repositories.get(name)!.files.get(path)!.entry;
    const unread = /the answer is not that of a hub/;
    const hostile: [what: string, why: RegExp, harm: () => void][] = [
      ['a commit', /expected 40 hex digits/, () => (hub.repositories.get(name)!.commit = '../../../../outside')],
      ['the id of a blob', unread, () => Object.assign(entry('config.json'), { oid: '../../../../outside' })],
      [
        'the id of a blob in LFS',
        unread,
        () => Object.assign(entry('model.safetensors'), { lfs: { oid: '../../../../outside', size: 300_000 } }),
      ],
      ['a size', unread, () => Object.assign(entry('config.json'), { size: -1 })],
      ['a list', unread, () => hub.script(/tree/, (_, response) => sendJson(response, { error: 'none' }))],
      [
        'a list with an end',
        /more than 100 pages/,
        () => hub.script(/tree/, ({ url }, response) => sendJson(response, [], { Link: `<${hub.url}${url}>; rel="next"` })),
      ],
      ['JSON', unread, () => hub.script(/revision/, sendChunked(Buffer.from('<html>')))],
      ['an answer of a bearable size', /more than 33554432 bytes/, () => hub.script(/revision/, sendChunked(Buffer.alloc(40 * 2 ** 20)))],
    ];
    for (const [what, why, harm] of hostile)
      it(`refuses what is not ${what}`, async () => {
        harm();
        const error = await failure();
        expect(error).to.include({ code: 'hub_corrupt' });
        expect(error.message).to.match(why);
        expect(hub.downloads()).to.deep.equal({});
        expect(readdirSync(work).filter((found) => found !== 'home')).to.deep.equal([]);
        expect(readdirSync(dirname(work))).to.not.include('outside');
      });

    it('does not see files that leave their folder', async () => {
      hub.commit(name, { 'model.safetensors.index.json': '{}', 'model-1.safetensors': 'a', 'model-2.safetensors': 'b' });
      Object.assign(entry('model-2.safetensors'), { path: 'model-/../../../../../outside.safetensors' });
      expect(readdirSync(await fetch()).sort()).to.deep.equal(['model-1.safetensors', 'model.safetensors.index.json']);
      expect(isHubId('acme/..')).to.equal(false);
      expect(isHubId('acme/clip@../../x')).to.equal(false);
      expect(isHubId('acme/clip@refs/pr/1')).to.equal(true);
    });
  });

  describe('says why not', () => {
    it('the name is wrong, the licence not accepted, the hub ill', async () => {
      const unknown = await failure('acme/none');
      expect(unknown).to.include({ code: 'hub_not_found' });
      expect((await failure('acme/none', { HF_TOKEN: undefined })).message).to.include('set HF_TOKEN if it is private');
      hub.script(/revision/, refuse(401, { 'X-Error-Code': 'RepoNotFound' }), 1);
      expect(await failure()).to.include({ code: 'hub_not_found' });
      hub.script(/resolve/, refuse(403, { 'X-Error-Code': 'GatedRepo' }), 2);
      const gated = await failure();
      expect(gated).to.include({ code: 'hub_denied' });
      expect(gated.message).to.include(`accept its licence at ${hub.url}/acme/clip`);
      expect((await failure(name, { HF_TOKEN: undefined })).message).to.include('set HF_TOKEN');
      hub.script(/tree/, refuse(500));
      expect((await failure()).message).to.include('status 500');
    });
  });
});
