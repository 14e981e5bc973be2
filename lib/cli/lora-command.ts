import type { Command } from 'commander';

import { presetNames } from '../config/files.js';
import type { LoraEvent } from '../lora/events.js';
import { finetune } from '../lora/finetune.js';
import { loraSchema, resolveLoraConfig } from '../lora/options.js';
import { formatLoraPlan } from '../lora/plan.js';
import { chatCommand } from './chat-command.js';
import { loraText } from './lora-progress.js';
import { mergeCommand } from './merge-command.js';
import { type Asked, flagName, optionsCommand } from './options-command.js';
import { output } from './output.js';
import { eventPrinter } from './progress.js';
import { distributedShape, runRanked, splitDistributed, worldSizeOf } from './ranked.js';

const everyday = `
Examples:
  kuea-lora --preset llava-1.5-7b-lora --data llava-665k --out runs/llava
  kuea-lora --model llava-hf/llava-1.5-7b-hf --data mine.json --out runs/mine
  kuea-lora chat --model llava-hf/llava-1.5-7b-hf --adapter runs/mine/export \\
    --image cat.jpg "What is this?"

The adapter is in OUT/export. --help-all shows every option.`;

const all = `
Examples:
  The paper's recipe, on an encoder that kuea-align made:
    kuea-lora --preset llava-1.5-7b-lora --vision-tower runs/l14-336/export/hf --data llava-665k --out runs/llava
  What it would do, and whether it fits a card of 24 GiB:
    kuea-lora --preset llava-1.5-7b-lora --data llava-665k --out runs/llava --base-precision nf4 --card-gib 24 --dry-run
  Your own conversations; go on after a stop:
    kuea-lora --model llava-hf/llava-1.5-7b-hf --data mine.json --images photos/ --out runs/mine --resume
  Ask the result, and make one model of it:
    kuea-lora chat --model llava-hf/llava-1.5-7b-hf --adapter runs/mine/export --image cat.jpg "What is this?"
    kuea-lora merge --model llava-hf/llava-1.5-7b-hf --adapter runs/mine/export --to hf --out merged

The adapter is in OUT/export, in PEFT's layout.`;

async function run({ options, json, warnings }: Asked): Promise<void> {
  const { own, distributed } = splitDistributed(options);
  const telling = { name: flagName, warn: (message: string) => warnings.push(message) };
  const config = resolveLoraConfig(own, { ranks: worldSizeOf(distributed), ...telling });
  const { device, dryRun } = config;
  await runRanked({ name: 'kuea-lora', distributed, device, dryRun, json }, async (ranks, signal) => {
    const printer = eventPrinter<LoraEvent>(json, loraText);
    try {
      if (ranks.rank === 0) for (const message of warnings) printer.print({ type: 'warning', message });
      const tuning = finetune(config, { signal, ranks });
      for await (const event of tuning) {
        if (ranks.rank > 0) continue;
        if (dryRun && event.type === 'start' && !json)
          output.block([formatLoraPlan(event.plan), ...event.notes.map((note) => `note       ${note}`)].join('\n'));
        else printer.print(event);
      }
      return (await tuning.result).interrupted;
    } finally {
      printer.close();
    }
  });
}

export function loraCommand(name: string): Command {
  return (
    optionsCommand({
      name,
      description: 'Fine-tune LLaVA-1.5 by LoRA, on the CLIP that it came with or on one that kuea-align made.',
      examples: { everyday, all },
      shape: { ...loraSchema.shape, ...distributedShape },
      presets: presetNames('lora'),
      run,
    })
      // What comes after chat or merge is theirs, though kuea-lora has options of that name.
      .enablePositionalOptions()
      .addCommand(chatCommand())
      .addCommand(mergeCommand())
  );
}
