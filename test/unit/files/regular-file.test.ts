import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from 'chai';

import { readConfigFile } from '../../../lib/config/files.js';
import { openSamples, type SampleOptions } from '../../../lib/data/conversations/open.js';
import { scanRecords } from '../../../lib/data/conversations/records.js';
import { decode } from '../../../lib/data/images/decode.js';
import type { EncodedSource } from '../../../lib/data/images/source.js';
import { openSource } from '../../../lib/data/images/sources.js';
import { SkippedImages } from '../../../lib/data/skipped.js';
import { readTensors } from '../../../lib/files/read-tensors.js';
import { readJson } from '../../../lib/models/model-folder.js';
import { readAt, readIfThere, readRegular } from '../../../lib/regular-file.js';
import { openTokenizer } from '../../../lib/text/tokenizer.js';
import { failure, useFolder } from './support.js';

describe('files that are none', () => {
  const { path, file } = useFolder();
  const fifo = (name: string) => {
    execFileSync('mkfifo', [path(name)]);
    return path(name);
  };
  const folder = (name: string) => {
    mkdirSync(path(name));
    return path(name);
  };

  const readers: [name: string, file: string, read: (file: string) => Promise<unknown>, code: string][] = [
    ['safetensors', 'x.safetensors', readTensors, 'not_a_file'],
    ['an index', 'model.safetensors.index.json', readTensors, 'not_a_file'],
    ["PyTorch's", 'x.pt', readTensors, 'not_a_file'],
    ['pixels', 'pixels.safetensors', openSource, 'not_a_file'],
    ['a tar', 'x.tar', openSource, 'not_a_file'],
    ['an image', 'x.jpg', decode, 'undecodable_image'],
    ['records', 'x.jsonl', (name) => scanRecords(name, () => {}), 'not_a_file'],
    ['samples', 'x.json', (name) => openSamples(name, {} as SampleOptions), 'data_not_found'],
    ['a config', 'x.yaml', readConfigFile, 'bad_config'],
    ['a list of skipped images', 'skipped.jsonl', (name) => SkippedImages.open(name, 1), 'not_a_file'],
  ];
  for (const [name, at, read, code] of readers) {
    it(`${name}: a FIFO, a device and a folder are refused, and not waited for`, async () => {
      const [stem, ...rest] = at.split('.');
      const named = (kind: string) => `${stem}-${kind}.${rest.join('.')}`;
      const found = await failure(read(fifo(named('fifo'))));
      expect(found.code).to.equal(code);
      expect(found.message).to.include('a FIFO');
      symlinkSync('/dev/zero', path(named('zero')));
      expect((await failure(read(path(named('zero'))))).code).to.equal(code);
    });
  }

  it("a tokenizer's and a model's: likewise", async () => {
    for (const name of ['tokenizer.json', 'tokenizer_config.json', 'tokenizer.model']) {
      const around = folder(`with ${name}`);
      execFileSync('mkfifo', [join(around, name)]);
      expect((await failure(openTokenizer(around))).code, name).to.equal('not_a_file');
    }
    const around = folder('a model');
    execFileSync('mkfifo', [join(around, 'config.json')]);
    expect((await failure(readJson(around, 'config.json'))).code).to.equal('not_a_file');
  });

  it('among images: are skipped with a reason', async () => {
    const around = folder('images');
    execFileSync('mkfifo', [join(around, 'a.jpg')]);
    symlinkSync('/dev/zero', join(around, 'b.jpg'));
    mkdirSync(join(around, 'c'));
    symlinkSync(join(around, 'c'), join(around, 'd.jpg'));
    writeFileSync(join(around, 'e.jpg'), '');
    truncateSync(join(around, 'e.jpg'), 3 * 2 ** 30);
    const source = (await openSource(around)) as EncodedSource;
    const reasons = [/found a FIFO/, /found a device/, /found a folder/, /found 3221225472 bytes/];
    expect(source.length).to.equal(reasons.length);
    for (const [i, reason] of reasons.entries()) {
      const { code, message } = await failure(source.read(i));
      expect(code).to.equal('undecodable_image');
      expect(message).to.match(reason);
    }
  });

  it('that are too large: are refused before they are read', async () => {
    const sparse = file('sparse.jpg', '\xff\xd8\xff');
    truncateSync(sparse, 2 ** 31 + 10);
    expect((await failure(decode(sparse))).message).to.match(/found 2147483658 bytes/);
    const yaml = file('large.yaml', 'a: 1\n'.repeat(1e5));
    expect((await failure(readConfigFile(yaml))).message).to.match(/at most 262144 bytes/);
  });

  it('reads what is there, and tells what is absent from what cannot be read', async () => {
    const there = file('there', 'abcdef');
    expect((await readRegular(there, 6)).toString()).to.equal('abcdef');
    expect(await failure(readRegular(there, 5))).to.include({ code: 'file_too_large' });
    expect(await readIfThere(path('absent'), 9)).to.equal(null);
    expect(await readIfThere(join(there, 'below'), 9)).to.equal(null);
    expect(await failure(readRegular(path('absent'), 9))).to.include({ code: 'file_not_found' });
    const whole = await readAt({ read: async () => ({ bytesRead: 0 }) } as unknown as Parameters<typeof readAt>[0], 0, 9);
    expect(whole).to.have.length(0);
  });
});
