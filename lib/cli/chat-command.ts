import { stat } from 'node:fs/promises';

import { Command, Option } from 'commander';

import { KueaError } from '../errors.js';
import { type OpenLlavaOptions, openLlava } from '../generate/llava.js';
import { output } from './output.js';

interface ChatOptions extends Omit<OpenLlavaOptions, 'feature'> {
  model: string;
  image?: string;
  visionFeature?: 'hidden' | 'ln_post';
  maxNewTokens: number;
  system: boolean;
}

/** What would be found only once the model is open, which takes a while. */
async function check(question: string, image: string | undefined): Promise<void> {
  if (question.trim() === '') throw new KueaError('bad_option', 'expected a question, found none');
  if (image !== undefined && !(await stat(image).catch(() => null)))
    throw new KueaError('image_not_found', `expected an image at ${image}, found no file there`);
}

export function chatCommand(): Command {
  return new Command('chat')
    .summary('ask a LLaVA about an image')
    .description('Ask a LLaVA about an image; the answer is printed as it is made.')
    .argument('<question>', 'what to ask')
    .requiredOption('--model <ref>', 'LLaVA-1.5: a folder or a hub id')
    .option('--adapter <dir>', "adapter in PEFT's layout, such as OUT/export of kuea-lora")
    .option('--image <file>', 'image to ask about')
    .option('--vision-tower <ref>', "CLIP to see with (default: the adapter's, or the model's own)")
    .addOption(
      new Option('--vision-feature <feature>', "patch features (default: the adapter's, or hidden)").choices(['hidden', 'ln_post']),
    )
    .addOption(new Option('--activation <activation>', 'activation of a tower whose file does not say it').choices(['quick_gelu', 'gelu']))
    .option('--any-base', 'take the adapter although it was trained on another base')
    .option('--max-new-tokens <n>', 'tokens of an answer at most', Number, 512)
    .addOption(new Option('--precision <precision>', 'arithmetic').choices(['fp32', 'bf16']).default('bf16'))
    .addOption(
      new Option('--base-precision <precision>', 'how the weights are kept (default: as --precision)').choices([
        'fp32',
        'bf16',
        'fp16',
        'nf4',
      ]),
    )
    .option('--device <device>', 'where to compute: auto (a GPU if there is one), cpu, cuda or cuda:N', 'auto')
    .option('--no-system', "leave out the sentence that opens every conversation, as llava-hf's model cards do")
    .action(async (question: string, { model, image, visionFeature, maxNewTokens, system, ...options }: ChatOptions) => {
      await check(question, image);
      const llava = await openLlava(model, { ...options, feature: visionFeature });
      try {
        const answer = llava.generate({ question, maxNewTokens, system, ...(image === undefined ? {} : { image }) });
        for await (const piece of answer) {
          output.piece(piece);
          // Nobody reads on.
          if (output.lost !== null) return;
        }
        output.piece('\n');
      } finally {
        await llava.close();
      }
    });
}
