/**
 * Part of npm run build: writes the options of each program into its .d.ts field by field, each with the line of help that --help prints.
 * The compiler leaves z.input<typeof schema> there, of which an editor shows no comment: what it emits of a schema has none.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { z } from 'zod';

const root = resolve(fileURLToPath(import.meta.url), '..', '..');
const programs = [
  { module: 'align/options', schema: 'alignSchema', type: 'AlignOptions' },
  { module: 'lora/options', schema: 'loraSchema', type: 'LoraOptions' },
];

const literal = (value) => (typeof value === 'string' ? `'${value}'` : JSON.stringify(value).replaceAll('"', "'"));

/** TypeScript's type for a JSON schema. */
function typeOf({ type, enum: values, anyOf, items }) {
  if (values) return values.map(literal).join(' | ');
  if (anyOf) return anyOf.map(typeOf).join(' | ');
  if (type === 'array') return `(${typeOf(items)})[]`;
  const scalar = { string: 'string', number: 'number', integer: 'number', boolean: 'boolean' }[type];
  if (!scalar) throw new Error(`expected an option of a kind that scripts/option-types.mjs knows, found ${type}: add it there`);
  return scalar;
}

/** What a caller may give, of a schema of options, as TypeScript. */
export function optionType(schema, name) {
  const { properties, required } = z.toJSONSchema(schema, { io: 'input' });
  const fields = Object.entries(properties).map(([key, property]) => {
    const { help, default: otherwise } = property;
    if (!help) throw new Error(`expected a line of help for the option ${key}, found none`);
    // One of the values keeps its spelling.
    const text = /^\w+:/.test(help) ? help : help[0].toUpperCase() + help.slice(1);
    const comment = `/** ${text}${/[.?]$/.test(text) ? '' : '.'}${otherwise === undefined ? '' : ` Default ${literal(otherwise)}.`} */`;
    const optional = !required.includes(key);
    return `    ${comment}\n    ${key}${optional ? '?' : ''}: ${typeOf(property)}${optional ? ' | undefined' : ''};`;
  });
  return `export type ${name} = {\n${fields.join('\n')}\n}`;
}

async function main() {
  for (const { module, schema, type } of programs) {
    const path = join(root, 'dist', 'lib', module);
    const declared = readFileSync(`${path}.d.ts`, 'utf8');
    const options = (await import(pathToFileURL(`${path}.js`).href))[schema];
    // As the compiler left it, or as this script did.
    const found = new RegExp(`export type ${type} = (z\\.input<typeof ${schema}>|\\{\\n[\\s\\S]*?\\n\\})(?=;| & )`);
    if (!found.test(declared)) throw new Error(`expected the type ${type} in ${path}.d.ts, found none`);
    writeFileSync(
      `${path}.d.ts`,
      declared.replace(found, () => optionType(options, type)),
    );
  }
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) await main();
