import { Command, Option } from 'commander';
import { mergeAdapter } from '../models/llava/merge.js';
import { openLlava } from '../models/llava/open.js';
import { loadAddon } from '../native/load.js';
import { output } from './output.js';

export function mergeCommand(): Command {
  return new Command('merge')
    .summary('make one LLaVA of a model and an adapter')
    .description('Add an adapter to its model: one LLaVA, which needs no adapter any more.')
    .requiredOption('--model <ref>', 'LLaVA-1.5 that the adapter was trained on: a folder or a hub id')
    .requiredOption('--adapter <dir>', "adapter in PEFT's layout, such as OUT/export of kuea-lora")
    .option('--vision-tower <ref>', "CLIP that it sees with (default: the adapter's, or the model's own)")
    .addOption(new Option('--activation <activation>', 'activation of a tower whose file does not say it').choices(['quick_gelu', 'gelu']))
    .option('--any-base', 'take the adapter although it was trained on another base')
    .addOption(
      new Option('--to <layout>', "original: as its authors' code reads it; hf: as transformers does")
        .choices(['original', 'hf'])
        .makeOptionMandatory(),
    )
    .requiredOption('--out <dir>', 'folder to make')
    .action(
      async ({
        model,
        to,
        out,
        ...options
      }: {
        model: string;
        adapter: string;
        visionTower?: string;
        activation?: 'quick_gelu' | 'gelu';
        anyBase?: boolean;
        to: 'original' | 'hf';
        out: string;
      }) => {
        await mergeAdapter(loadAddon(), await openLlava(model, options), out, to);
        output.line(`wrote ${out}`);
      },
    );
}
