import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { Command } from 'commander';
import sharp from 'sharp';

import type { AddonInfo } from '../native/addon.js';
import { buildRecord } from '../native/load.js';
import { packageRoot, packageVersion } from '../package.js';
import { output } from './output.js';

interface Finding {
  part: string;
  found: string;
  required: string;
  /** Empty when all is well. */
  remedy: string;
}

/** Loads the addon and runs one loss in a child, so that a crash of the linker or of libtorch is a line here. */
const proof = `
import { loadAddon } from ${JSON.stringify(fileURLToPath(new URL('../native/load.js', import.meta.url)))};
const addon = loadAddon();
const x = Float32Array.of(1, 2, 3, 4), kernel = { kind: 'cosine', gamma: 1, c: 0, sigma: 1, sigmaTeacher: 1 };
const { loss } = await addon.kernelLoss({ x, y: x, n: 2, d: 2, dt: 2, kernel, backend: 'fused', gradient: false });
if (!(loss < 1e-9)) throw new Error('a loss that is 0 came out as ' + loss);
console.log(JSON.stringify(addon.info()));
`;

function proveAddon(): { info: AddonInfo } | { failure: string } {
  const child = spawnSync(process.execPath, ['--input-type=module', '--eval', proof], { encoding: 'utf8', timeout: 60_000 });
  if (child.status === 0) return { info: JSON.parse(child.stdout) as AddonInfo };
  const why = child.signal
    ? `killed by ${child.signal}`
    : (/^\w*Error: (.*)$/m.exec(child.stderr)?.[1] ?? child.stderr.trim().split('\n').at(-1) ?? 'no output');
  return { failure: why };
}

function cuda(info: AddonInfo): Finding {
  if (info.cudaBuilt === null) return { part: 'CUDA', found: 'not built in', required: 'optional', remedy: '' };
  const found =
    info.cudaDevices > 0 ? `${info.cudaBuilt}, ${info.cudaDevices} devices` : `built with CUDA ${info.cudaBuilt}, no device visible`;
  return { part: 'CUDA', found, required: 'optional', remedy: '' };
}

/** The lowest Node that package.json promises to run on. */
function requiredNode(): { major: number; minor: number } {
  const { engines } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { engines: { node: string } };
  const [, major = '0', minor = '0'] = /^>=(\d+)(?:\.(\d+))?/.exec(engines.node) ?? [];
  return { major: Number(major), minor: Number(minor) };
}

/** What this machine has of what kuea needs. */
export function diagnose(): Finding[] {
  const [major, minor] = process.versions.node.split('.').map(Number) as [number, number];
  const required = requiredNode();
  const isNew = major > required.major || (major === required.major && minor >= required.minor);
  const node: Finding = {
    part: 'node',
    found: process.versions.node,
    required: `${required.major}.${required.minor} or newer`,
    remedy: isNew ? '' : `install Node ${required.major} or newer`,
  };
  const images: Finding = {
    part: 'sharp',
    found: `${sharp.versions.sharp ?? '?'}, libvips ${sharp.versions.vips}`,
    required: 'any',
    remedy: '',
  };
  const remedy = 'npm run build:native';
  let built: Finding;
  try {
    const { version, libtorch } = buildRecord();
    built = {
      part: 'build',
      found: `kuea ${version}, libtorch ${libtorch.version} from ${libtorch.how}`,
      required: `kuea ${packageVersion()}`,
      remedy: version === packageVersion() ? '' : remedy,
    };
  } catch (error) {
    built = { part: 'build', found: (error as Error).message, required: 'a finished build', remedy };
    return [node, built, images];
  }
  const proven = proveAddon();
  if ('failure' in proven) return [node, built, { part: 'addon', found: proven.failure, required: 'loads and computes', remedy }, images];
  const { info } = proven;
  return [
    node,
    built,
    {
      part: 'addon',
      found: `loads and computes (${info.cpuCapability}, ${info.threads} threads)`,
      required: 'loads and computes',
      remedy: '',
    },
    { part: 'libtorch', found: info.libtorch, required: '2.13 or 2.14', remedy: /^2\.1[34]\./.test(info.libtorch) ? '' : remedy },
    cuda(info),
    images,
  ];
}

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('Check node, addon, libtorch, CUDA and sharp; the addon is proven in a child process.')
    .action(() => {
      const findings = diagnose();
      const rows = [
        { part: '', found: 'found', required: 'required', remedy: 'remedy' },
        ...findings.map((f) => ({ ...f, remedy: f.remedy || 'none needed' })),
      ];
      const width = (key: keyof Finding) => Math.max(...rows.map((row) => row[key].length));
      for (const row of rows)
        output.line(
          [row.part.padEnd(width('part')), row.found.padEnd(width('found')), row.required.padEnd(width('required')), row.remedy]
            .join('  ')
            .trimEnd(),
        );
      if (findings.some(({ remedy }) => remedy !== '')) process.exitCode = 1;
    });
}
