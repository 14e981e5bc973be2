import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from 'chai';

import { errorCodes } from '../../lib/errors.js';
import { packageRoot } from '../../lib/package.js';

function sources(folder: string, ending: RegExp): string {
  const root = join(packageRoot(), folder);
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((name) => ending.test(name) && name !== 'errors.ts')
    .map((name) => readFileSync(join(root, name), 'utf8'))
    .join('\n');
}

describe('error codes', () => {
  const [lib, native] = [sources('lib', /\.c?ts$/), sources('native', /\.(h|cpp|cu)$/)];
  const listed: ReadonlySet<string> = new Set(errorCodes);

  it('are listed once', () => {
    expect(errorCodes).to.have.length(listed.size);
  });

  // What lib/ throws, the compiler compares with the list.
  it('of the addon are all listed', () => {
    const thrown = [...native.matchAll(/\bError\(\s*"(\w+)"|\bcode = "(\w+)"/g)].map((match) => match[1] ?? match[2]!);
    expect(thrown.length).to.be.above(20);
    expect(thrown.filter((code) => !listed.has(code))).to.deep.equal([]);
  });

  it('that are listed are thrown somewhere', () => {
    expect(errorCodes.filter((code) => !lib.includes(`'${code}'`) && !native.includes(`"${code}"`))).to.deep.equal([]);
  });
});
