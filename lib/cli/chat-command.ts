import { Command, Option } from 'commander';

import { type OpenLlavaOptions, openLlava } from '../generate/llava.js';

interface ChatOptions extends Omit<OpenLlavaOptions, 'feature'> {
  model: string;
  image?: string;
  visionFeature?: 'hidden' | 'ln_post';
  maxNewTokens: number;
  system: boolean;
}

export function chatCommand(): Command {
  return new Command('chat')
    .description('Ask a LLaVA about an image; the answer is printed as it is made.')
    .argument('<question>', 'what to ask')
    .requiredOption('--model <ref>', 'LLaVA-1.5: a folder or a hub id')
    .option('--adapter <dir>', "adapter in PEFT's layout, such as OUT/export of kuea-lora")
    .option('--image <file>', 'image to ask about')
    .option('--vision-tower <ref>', "CLIP to see with (default: the adapter's, or the model's own)")
    .addOption(
      new Option('--vision-feature <feature>', "patch features (default: the adapter's, or hidden)").choices(['hidden', 'ln_post']),
    )
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
    .option('--no-system', "leave out the sentence that opens every conversation, as llava-hf's model cards do")
    .action(async (question: string, { model, image, visionFeature, maxNewTokens, system, ...options }: ChatOptions) => {
      const llava = await openLlava(model, { ...options, feature: visionFeature });
      try {
        const answer = llava.generate({ question, maxNewTokens, system, ...(image === undefined ? {} : { image }) });
        for await (const piece of answer) process.stdout.write(piece);
        process.stdout.write('\n');
      } finally {
        await llava.close();
      }
    });
}
