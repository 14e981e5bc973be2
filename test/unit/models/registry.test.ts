import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { exportWeights } from '../../../lib/models/export.js';
import { openWeights } from '../../../lib/models/open.js';
import { readShape } from '../../../lib/models/read-shape.js';
import { costOf, kinds, parameterCount } from '../../../lib/models/registry.js';
import type { ClipVisionArch, Dinov2Arch } from '../../../lib/native/addon.js';
import { packageRoot } from '../../../lib/package.js';
import { failure } from './llava/support.js';

const root = packageRoot();
const goldens = join(root, 'test/golden/encoders');

const clipOf = (shape: Partial<ClipVisionArch>): ClipVisionArch => ({
  family: 'clip',
  width: 768,
  layers: 12,
  heads: 12,
  mlpWidth: 3072,
  patchSize: 16,
  imageSize: 224,
  embedDim: 512,
  activation: 'quick_gelu',
  ...shape,
});
const large = { width: 1024, layers: 24, heads: 16, mlpWidth: 4096, patchSize: 14 };
const dinov2Of = (shape: Partial<Dinov2Arch>): Dinov2Arch => ({
  family: 'dinov2',
  ...large,
  ffn: 'mlp',
  imageSize: 518,
  registers: 0,
  interpolation: 'size',
  ...shape,
});

describe('the kinds of models', () => {
  let work: string;
  before(() => {
    work = mkdtempSync(join(tmpdir(), 'kuea-kinds-'));
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  it('are asked for nowhere but in their folders', () => {
    const files = readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
    const elsewhere = files.filter((name) => !/^models\/(clip|dinov2|llava)\/|^native\//.test(name));
    for (const name of elsewhere) {
      const text = readFileSync(join(root, 'lib', name), 'utf8');
      expect(text, name).to.not.match(/\bfamily\b[^\n;]*[=!]==? *'/);
      // Of what is a kind's own, the registry alone knows.
      if (name !== 'models/registry.ts') expect(text, name).to.not.match(/from '[^']*\/dinov2\//);
    }
  });

  // Published: 86.2 M and 304.0 M for OpenAI's B/16 and L/14, 304.4 M and 1136.5 M for DINOv2's L (with registers) and g. FLOPs and bytes
  // as 0.1 planned them.
  const costs: [name: string, arch: ClipVisionArch | Dinov2Arch, parameters: number, flops: number, kept: number, checkpointed: number][] =
    [
      ['CLIP ViT-B/16', clipOf({}), 86_192_640, 32_696_180_736, 65_359_872, 7_262_208],
      ['CLIP ViT-L/14', clipOf({ ...large, embedDim: 768 }), 303_966_208, 156_387_344_384, 227_377_152, 25_264_128],
      ['CLIP ViT-L/14 at 336', clipOf({ ...large, embedDim: 768, imageSize: 336 }), 304_293_888, 368_478_879_744, 510_492_672, 56_721_408],
      ['DINOv2 L with registers', dinov2Of({ registers: 4 }), 304_371_712, 158_913_019_904, 1_215_627_264, 135_069_696],
      ['DINOv2 L', dinov2Of({}), 304_367_616, 156_385_771_520, 1_212_088_320, 134_676_480],
      [
        'DINOv2 g with registers',
        dinov2Of({ width: 1536, layers: 40, heads: 24, mlpWidth: 4096, ffn: 'swiglu', registers: 4 }),
        1_136_485_376,
        595_663_773_696,
        2_588_835_840,
        337_674_240,
      ],
    ];
  for (const [name, arch, parameters, flops, kept, checkpointed] of costs) {
    it(`${name}: costs what it did`, () => {
      const cost = costOf(arch);
      expect(parameterCount(arch)).to.equal(parameters);
      expect(cost.forwardFlops(arch, Math.min(arch.imageSize, arch.family === 'clip' ? 336 : 224))).to.equal(flops);
      expect(cost.keptBytes(arch, 'bf16', false)).to.equal(kept);
      expect(cost.keptBytes(arch, 'fp32', true)).to.equal(checkpointed);
    });
  }

  it('have parameters of the same number and shapes in each of their layouts', async () => {
    for (const folder of ['hf-b32', 'visual/final.pt', 'openai/ViT-tiny.pt', 'dinov2', 'dinov2-hub/dinov2_tiny.pth']) {
      const { kind, arch, layout } = await openWeights(join(goldens, folder));
      expect(kind.keys(arch).map(({ name, shape }) => ({ name, shape }))).to.deep.equal(
        kind.keys(arch, layout).map(({ name, shape }) => ({ name, shape })),
      );
    }
  });

  it('are named in errors by what they can do', async () => {
    const teacher = await openWeights(join(goldens, 'dinov2'));
    const write = async () => {};
    expect(await failure(exportWeights(teacher, 'hf', join(work, 'out'), write)))
      .to.include({ code: 'not_exportable' })
      .and.property('message')
      .match(/expected a CLIP to export, found a DINOv2 in/);
    expect((await failure(openWeights(join(goldens, 'dinov2'), { role: 'tower' }))).message).to.match(
      /expected a CLIP for the tower, found a DINOv2/,
    );
    expect(new Set(kinds.map(({ name }) => name)).size).to.equal(kinds.length);
  });
});

describe('the shape of an encoder from its configs', () => {
  let work: string;
  before(() => {
    work = mkdtempSync(join(tmpdir(), 'kuea-shape-'));
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  /** The configs of a golden without its weights. */
  function configsOf(name: string): string {
    const folder = join(work, name);
    mkdirSync(folder, { recursive: true });
    for (const file of readdirSync(join(goldens, name)).filter((each) => each.endsWith('config.json')))
      cpSync(join(goldens, name, file), join(folder, file));
    return folder;
  }

  for (const name of [
    'hf-b32',
    'hf-l14',
    'hf-336',
    'hf-vision-only',
    'open-clip',
    'open-clip-quickgelu',
    'dinov2',
    'dinov2-registers',
    'dinov2-swiglu',
  ]) {
    it(`is what its weights have: ${name}`, async () => {
      const { arch } = await openWeights(join(goldens, name));
      expect(await readShape(configsOf(name))).to.deep.equal(arch);
      expect(await readShape(join(goldens, name))).to.deep.equal(arch);
    });
  }

  it('is held to the same role, and to a kind that is known', async () => {
    expect(await failure(readShape(configsOf('dinov2'), { role: 'student' })))
      .to.include({ code: 'wrong_family' })
      .and.property('message')
      .match(/expected a CLIP for the student, found a DINOv2/);
    const other = join(work, 'other');
    mkdirSync(other);
    expect(await failure(readShape(other))).to.include({ code: 'bad_config' });
    writeFileSync(join(other, 'config.json'), '{"model_type": "siglip"}');
    expect((await failure(readShape(other))).message).to.match(/expected a CLIP or a DINOv2 in .*, found model_type "siglip"/);
    writeFileSync(join(other, 'config.json'), '{"model_type": "dinov2"}');
    expect((await failure(readShape(other))).message).to.match(/expected a positive number for patch_size .* found none/);
    writeFileSync(join(other, 'config.json'), '{"model_type": "clip", "vision_config": {"num_hidden_layers": 1e6}}');
    expect((await failure(readShape(other))).message).to.match(/layers from 1 to 1000/);
  });
});
