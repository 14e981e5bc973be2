import { availableParallelism } from 'node:os';

import type { Command } from 'commander';

import { align } from '../align/align.js';
import { type AlignConfig, alignSchema, resolveAlignConfig } from '../align/options.js';
import { formatPlan } from '../align/plan.js';
import { presetNames } from '../config/files.js';
import { alignText } from './align-progress.js';
import { optionsCommand } from './options-command.js';
import { eventPrinter } from './progress.js';
import { distributedShape, runRanked, splitDistributed } from './ranked.js';

const examples = `
Examples:
  The published recipe on a folder of images:
    kuea-align --preset vit-b-16 --student openai/clip-vit-base-patch16 --data photos/ --out runs/b16
  What it would do, and what that takes:
    kuea-align --preset vit-l-14 --data photos/ --out runs/l14 --dry-run
  On four GPUs, or with four processes that share the cores:
    kuea-align --preset vit-l-14 --data photos/ --out runs/l14 --nproc 4
  Go on after a stop:
    kuea-align --preset vit-b-16 --student openai/clip-vit-base-patch16 --data photos/ --out runs/b16 --resume

The aligned encoder is in OUT/export/hf: load it where the old one was.`;

/** Roughly what a core of today does, for the estimate of a dry run. */
const assumedFlops = (config: AlignConfig) => availableParallelism() * (config.precision === 'bf16' ? 160e9 : 85e9);

async function run(options: Record<string, unknown>, json: boolean): Promise<void> {
  const { own, distributed } = splitDistributed(options);
  const config = resolveAlignConfig(own);
  await runRanked(
    { name: 'kuea-align', distributed, device: config.device, dryRun: config.dryRun, quiet: json },
    async (ranks, signal, machines) => {
      const printer = eventPrinter(json, alignText);
      try {
        const alignment = align(config, { signal, ranks });
        for await (const event of alignment) {
          if (ranks.rank > 0) continue;
          if (config.dryRun && event.type === 'start' && !json) console.log(formatPlan(event.plan, machines * assumedFlops(config)));
          else printer.print(event);
        }
        return (await alignment.result).interrupted;
      } finally {
        printer.close();
      }
    },
  );
}

export function alignCommand(name: string): Command {
  return optionsCommand({
    name,
    description:
      "Fine-tune a CLIP vision encoder until its kernel matrix matches DINOv2's, from images alone, while every\nembedding stays near " +
      'its old place: the text encoder and what was built on the old one go on working.',
    examples,
    shape: { ...alignSchema.shape, ...distributedShape },
    presets: presetNames('align'),
    run,
  });
}
