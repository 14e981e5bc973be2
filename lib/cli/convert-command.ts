import { Command, Option } from 'commander';
import { type ExportLayout, exportLayouts } from '../models/clip/export.js';
import { convert } from '../models/convert.js';
import { loadAddon } from '../native/load.js';
import { output } from './output.js';

export function convertCommand(): Command {
  return new Command('convert')
    .description('Rewrite a CLIP in another layout, and check that it gives the same embeddings.')
    .argument('<ref>', 'a Hugging Face or open_clip folder, a weights file, or a hub id')
    .addOption(
      new Option('--to <layout>', 'hf: folder for transformers and LLaVA; open_clip: folder; openai, visual: one file')
        .choices(exportLayouts)
        .makeOptionMandatory(),
    )
    .requiredOption('--out <path>', 'folder (hf, open_clip) or file (openai, visual) to make')
    .addOption(new Option('--activation <activation>', 'activation of a file that does not say it').choices(['quick_gelu', 'gelu']))
    .action(async (ref: string, { to, out, activation }: { to: ExportLayout; out: string; activation?: 'quick_gelu' | 'gelu' }) => {
      const { difference } = await convert(loadAddon(), ref, to, out, { activation });
      const found = difference === 0 ? 'are the same' : `differ by at most ${difference.toExponential(1)} of their largest number`;
      output.line(`wrote ${out}; embeddings ${found}`);
    });
}
