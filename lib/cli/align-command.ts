import { availableParallelism } from 'node:os';

import type { Command } from 'commander';

import { align } from '../align/align.js';
import type { AlignEvent } from '../align/events.js';
import { type AlignConfig, alignSchema, resolveAlignConfig } from '../align/options.js';
import { formatPlan } from '../align/plan.js';
import { presetNames } from '../config/files.js';
import { alignText } from './align-progress.js';
import { type Asked, flagName, optionsCommand } from './options-command.js';
import { output } from './output.js';
import { eventPrinter } from './progress.js';
import { distributedShape, runRanked, splitDistributed, worldSizeOf } from './ranked.js';

const everyday = `
Examples:
  kuea-align --preset vit-b-16 --data photos/ --out runs/b16
  kuea-align --preset vit-b-16 --data photos/ --out runs/b16 --dry-run
  kuea-align --preset vit-b-16 --data photos/ --out runs/b16 --resume

The aligned encoder is in OUT/export/hf. --help-all shows every option.`;

const all = `
Examples:
  The published recipe on a folder of images:
    kuea-align --preset vit-b-16 --data photos/ --out runs/b16
  What it would do, and what that takes:
    kuea-align --preset vit-l-14 --data photos/ --out runs/l14 --dry-run
  On four GPUs, or with four processes that share the cores:
    kuea-align --preset vit-l-14 --data photos/ --out runs/l14 --nproc 4
  Go on after a stop:
    kuea-align --preset vit-b-16 --data photos/ --out runs/b16 --resume

The aligned encoder is in OUT/export/hf: load it where the old one was.`;

/** Roughly what a core of today does, for the estimate of a dry run. */
const assumedFlops = (config: AlignConfig) => availableParallelism() * (config.precision === 'bf16' ? 160e9 : 85e9);

async function run({ options, json, warnings }: Asked): Promise<void> {
  const { own, distributed } = splitDistributed(options);
  const telling = { name: flagName, warn: (message: string) => warnings.push(message) };
  const config = resolveAlignConfig(own, { ranks: worldSizeOf(distributed), ...telling });
  const { device, dryRun } = config;
  await runRanked({ name: 'kuea-align', distributed, device, dryRun, json }, async (ranks, signal, machines) => {
    const printer = eventPrinter<AlignEvent>(json, alignText);
    try {
      if (ranks.rank === 0) for (const message of warnings) printer.print({ type: 'warning', message });
      const alignment = align(config, { signal, ranks });
      for await (const event of alignment) {
        if (ranks.rank > 0) continue;
        if (dryRun && event.type === 'start' && !json) output.block(formatPlan(event.plan, machines * assumedFlops(config)));
        else printer.print(event);
      }
      return (await alignment.result).interrupted;
    } finally {
      printer.close();
    }
  });
}

export function alignCommand(name: string): Command {
  return optionsCommand({
    name,
    description:
      "Fine-tune a CLIP vision encoder until its kernel matrix matches DINOv2's, from images alone; embeddings stay near their old " +
      'places, so that the text encoder and what was built on the old one go on working.',
    examples: { everyday, all },
    shape: { ...alignSchema.shape, ...distributedShape },
    presets: presetNames('align'),
    run,
  });
}
