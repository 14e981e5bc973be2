import { expect } from 'chai';

import { resolveAlignConfig } from '../../../lib/align/options.js';
import { readConfigFile } from '../../../lib/config/files.js';
import { failure, useFolder } from '../files/support.js';

describe('a YAML that is no config', () => {
  const { file } = useFolder();
  const cases: [name: string, yaml: string][] = [
    ['that holds itself', 'steps: &a [*a]\n'],
    ['that holds itself in a map', 'steps: &a\n  b: *a\n'],
    ['nested without end', `steps: ${'['.repeat(5000)}`],
    [
      'that multiplies its aliases',
      `a: &a [1,1,1,1,1,1,1,1,1]\n${[...'bcdefghi'].map((c, i) => `${c}: &${c} [${`*${'abcdefgh'[i]},`.repeat(9)}]\n`).join('')}`,
    ],
  ];
  for (const [name, yaml] of cases) {
    it(`${name}: is refused`, async () => {
      expect(await failure(readConfigFile(file('x.yaml', yaml)).then(resolveAlignConfig))).to.include({ code: 'bad_config' });
    });
  }

  it('with an unknown tag is no reason to quote it on the terminal', async () => {
    const said: string[] = [];
    const listen = (warning: Error) => said.push(warning.message);
    process.on('warning', listen);
    await readConfigFile(file('tag.yaml', 'steps: !!\x1b[2J 5\nout: !odd x\n')).catch(() => {});
    await readConfigFile(file('odd.yaml', 'out: !odd x\n'));
    await new Promise((resolve) => setImmediate(resolve));
    process.off('warning', listen);
    expect(said).to.deep.equal([]);
  });
});
