import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { expect } from 'chai';
import type { z } from 'zod';

import { alignSchema } from '../../../lib/align/options.js';
import { loraSchema } from '../../../lib/lora/options.js';
import { packageRoot } from '../../../lib/package.js';

const root = packageRoot();

/** What the compiler says of a program of somebody who has installed kuea, but neither @types/node nor a new lib. */
function compile(code: string): string {
  const work = mkdtempSync(join(tmpdir(), 'kuea-types-'));
  try {
    mkdirSync(join(work, 'node_modules'));
    symlinkSync(root, join(work, 'node_modules', 'kuea'));
    const compilerOptions = {
      target: 'es2022',
      lib: ['es2022'],
      module: 'nodenext',
      strict: true,
      types: [],
      skipLibCheck: true,
      noEmit: true,
    };
    writeFileSync(join(work, 'package.json'), '{"type":"module"}');
    writeFileSync(join(work, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['program.ts'] }));
    writeFileSync(join(work, 'program.ts'), code);
    return spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', work], { encoding: 'utf8' }).stdout;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

describe('the types of the package', () => {
  it('need no @types/node and no new lib', () => {
    const said = compile(`
      import { KueaError, type KueaErrorCode, openEncoder, openLlava } from 'kuea';
      await using encoder = await openEncoder('model', { batchSize: 4 });
      const embeddings: Float32Array = await encoder.encodeImages(['a.jpg', new Uint8Array(3)]);
      await using llava = await openLlava('model');
      for await (const piece of llava.generate({ question: 'What?' })) piece.length;
      const code: KueaErrorCode = new KueaError('closed', '').code;
      // @ts-expect-error
      const misspelt: KueaErrorCode = 'closd';
    `);
    expect(said).to.equal('');
  }).timeout(120_000);

  const programs = {
    AlignOptions: { schema: alignSchema, declared: ['align', 'alignSchema'] },
    LoraOptions: { schema: loraSchema, declared: ['lora', 'loraSchema'] },
  };
  let optionType: (schema: z.ZodObject, name: string) => string;
  before(async () => {
    ({ optionType } = (await import(pathToFileURL(join(root, 'scripts/option-types.mjs')).href)) as { optionType: typeof optionType });
  });

  for (const [name, { schema, declared }] of Object.entries(programs))
    it(`say of each field of ${name} what --help does, and are those of the schema`, () => {
      const written = optionType(schema, 'Written');
      const lines = written.split('\n').slice(1, -1);
      expect(lines.length).to.equal(2 * Object.keys(schema.shape).length);
      for (const [i, [key, option]] of Object.entries(schema.shape).entries()) {
        const help = (option as z.ZodType).meta()!['help'] as string;
        expect(lines[2 * i]!.toLowerCase())
          .to.match(/^ {4}\/\*\* .* \*\/$/)
          .and.include(help.toLowerCase());
        expect(lines[2 * i + 1]).to.match(new RegExp(`^ {4}${key}\\??: `));
      }
      // Each is assignable to the other, and has the other's keys and no more.
      const [folder, variable] = declared;
      const said = compile(`
        import type { ${variable} } from ${JSON.stringify(join(root, `dist/lib/${folder}/options.js`))};
        type Inferred = (typeof ${variable})['_zod']['input'];
        ${written}
        const all: [Required<Inferred>, Required<Written>] = [null! as Required<Written>, null! as Required<Inferred>];
        const keys: [keyof Written, keyof Inferred] = [null! as keyof Inferred, null! as keyof Written];
        const needed: [Inferred, Written] = [null! as Written, null! as Inferred];
      `);
      expect(said).to.equal('');
    }).timeout(120_000);
});
