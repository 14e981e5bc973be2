import { createHash } from 'node:crypto';
import { join } from 'node:path';

import { expect } from 'chai';

import { scanRecords } from '../../../../lib/data/conversations/records.js';
import { failure, inFolder, write } from '../images/support.js';

const records = [{ id: '1', text: 'a "quoted" } ] \\ text' }, { id: 2, nested: [{ a: [1, 2] }, '}'] }, { text: 'é镇🦙\u2028' }, {}];

async function scan(content: string | Uint8Array): Promise<{ found: unknown[]; bytes: string[]; sha256: string }> {
  return inFolder(async (folder) => {
    await write(folder, { 'data.json': content });
    const found: unknown[] = [];
    const bytes: string[] = [];
    const sha256 = await scanRecords(join(folder, 'data.json'), (record, offset, size) => {
      found.push(record);
      bytes.push(Buffer.from(content).toString('utf8', offset, offset + size));
    });
    return { found, bytes, sha256 };
  });
}

describe('scanRecords', () => {
  it('finds each record and its place, in an array and in lines', async () => {
    const lines = records.map((record) => JSON.stringify(record));
    for (const content of [
      JSON.stringify(records),
      JSON.stringify(records, null, 2),
      ` [ ${lines.join(' ,\n')} ] \n`,
      `\ufeff${JSON.stringify(records)}`,
      lines.join('\n'),
      `${lines.join('\n\n')}\r\n`,
    ]) {
      const { found, bytes, sha256 } = await scan(content);
      expect(found).to.deep.equal(records);
      expect(bytes.map((text) => JSON.parse(text) as unknown)).to.deep.equal(records);
      expect(sha256).to.equal(createHash('sha256').update(content).digest('hex'));
    }
    expect((await scan('[]')).found).to.deep.equal([]);
  });

  it('refuses a record that is nested deeper than any reader of it goes, and one as large as memory', async () => {
    for (const [content, expected] of [
      [`{"id": ${'['.repeat(1e6)}`, /nested more than 100 deep/],
      [`{"id":${'[{"a":'.repeat(80)}1${'}]'.repeat(80)}}`, /nested more than 100 deep/],
      [`{"id":[${'[],'.repeat(8e6)}[]]}`, /a record of more than 16777216 bytes/],
    ] as const) {
      const error = await failure(scan(content));
      expect(error.code).to.equal('bad_json');
      expect(error.message).to.match(expected);
    }
    expect((await scan(`{"id":${'['.repeat(99)}${']'.repeat(99)}}`)).found).to.have.length(1);
  });

  it('finds records that lie across the pieces in which the file is read', async () => {
    // The pieces have 4 MiB; the second record is longer than one, and the later ones meet edges within a string, an escape and a
    // character.
    const long = [
      { a: 'x' },
      { b: '\\"]}'.repeat(1 << 20) },
      ...Array.from({ length: 40 }, (_, i) => ({ c: '{"é'.repeat(60000 + 37 * i) })),
    ];
    const texts = long.map((record) => JSON.stringify(record));
    await inFolder(async (folder) => {
      await write(folder, { 'data.json': `[${texts.join(',')}]` });
      let [i, at] = [0, 1];
      await scanRecords(join(folder, 'data.json'), (record, offset, size) => {
        expect([offset, size]).to.deep.equal([at, Buffer.byteLength(texts[i]!)]);
        expect(JSON.stringify(record) === texts[i]).to.equal(true);
        i++;
        at += size + 1;
      });
      expect(i).to.equal(long.length);
    });
  });

  it('names the byte at which a file is damaged', async () => {
    const refused = async (content: string | Uint8Array, byte: number, why: string) => {
      const error = await failure(scan(content));
      expect(error.code).to.equal('bad_json');
      expect(error.message).to.include(`at byte ${byte} `).and.include(why);
    };
    const whole = JSON.stringify(records);
    for (let length = 0; length < Buffer.byteLength(whole); length++) {
      const error = await failure(scan(Buffer.from(whole).subarray(0, length)));
      expect(error.message, `${length}`).to.include(`at byte ${length} found its end`);
    }
    await refused('', 0, 'before any record');
    await refused('[{"a":1},', 9, 'within the array');
    await refused('[{"a":1},{"b":', 14, 'within the record that begins at byte 9');
    await refused('[{"a":1},{"é":tru}]', 9, 'no JSON');
    await refused('[{"a":1}{"b":2}]', 8, '{');
    await refused('[{"a":1},]', 9, ']');
    await refused('[{"a":1}] x', 10, 'x');
    await refused('["text"]', 1, 'text');
    await refused('{"a":1}\n7', 8, '7');
    await refused('version https://git-lfs.github.com/spec/v1\n', 0, 'version');
    await refused('\0\0\0', 0, '\\u0000');
  });

  it('stops by signal', async () => {
    const controller = new AbortController();
    const reason = new Error('stop');
    controller.abort(reason);
    await inFolder(async (folder) => {
      await write(folder, { 'data.json': '[]' });
      const error: unknown = await scanRecords(join(folder, 'data.json'), () => {}, controller.signal).catch((e: unknown) => e);
      expect(error).to.equal(reason);
    });
  });
});
