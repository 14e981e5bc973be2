import { Command } from 'commander';

import type { Shape } from '../config/options.js';
import { evaluate, resolveEvaluation } from '../eval/evaluate.js';
import type { EvaluationEvent } from '../eval/events.js';
import { type EvaluateOptions, linearProbeSchema, retrievalSchema, zeroShotSchema } from '../eval/options.js';
import { evalText, resultText } from './eval-progress.js';
import { type Asked, flagName, optionsCommand } from './options-command.js';
import { output } from './output.js';
import { eventPrinter } from './progress.js';
import { distributedShape, runRanked, splitDistributed } from './ranked.js';

type Task = EvaluateOptions['task'];

async function run(task: Task, { options, warnings }: Asked): Promise<void> {
  const { own, distributed } = splitDistributed(options);
  const asked = { task, ...own } as EvaluateOptions;
  const { config } = resolveEvaluation(asked, { name: flagName, warn: (message) => warnings.push(message) });
  const { device } = config;
  await runRanked({ name: `kuea-eval ${task}`, distributed, device, dryRun: false, json: false }, async (ranks, signal) => {
    const printer = eventPrinter<EvaluationEvent>(false, evalText);
    try {
      if (ranks.rank === 0) for (const message of warnings) printer.print({ type: 'warning', message });
      const evaluation = evaluate(asked, { signal, ranks });
      for await (const event of evaluation) if (ranks.rank === 0) printer.print(event);
      const result = await evaluation.result;
      printer.close();
      if (ranks.rank === 0) output.block(resultText(result));
      return false;
    } catch (error) {
      if (signal.aborted && error === signal.reason) return true;
      throw error;
    } finally {
      printer.close();
    }
  });
}

interface TaskCommand {
  task: Task;
  shape: Shape;
  description: string;
  data: string;
  example: string;
}

const tasks: readonly TaskCommand[] = [
  {
    task: 'zero-shot',
    shape: zeroShotSchema.shape,
    description: 'Classify images by the names of their classes, as CLIP_benchmark does: acc1, acc5, mean per-class recall.',
    data:
      'a folder with a folder a class (with classnames.txt and\nzeroshot_classification_templates.txt, or --classes and ' +
      "--templates), or\nCLIP_benchmark's shards",
    example:
      '  kuea-eval zero-shot --model runs/b16 --dataset cifar10\n  kuea-eval zero-shot --model runs/b16 --data photos/ --json result.json',
  },
  {
    task: 'retrieval',
    shape: retrievalSchema.shape,
    description: 'Find images by their captions and captions by their images: recall@k, as CLIP_benchmark defines it.',
    data: "CLIP_benchmark's shards of captions, or --annotations in COCO's or Karpathy's JSON",
    example: '  kuea-eval retrieval --model runs/b16 --annotations dataset_flickr30k.json --images flickr30k/',
  },
  {
    task: 'linear-probe',
    shape: linearProbeSchema.shape,
    description: 'Train a linear classifier on frozen features, and measure it: lp_acc1, lp_acc5, lp_mean_per_class_recall.',
    data: 'as for zero-shot, with two splits',
    example: '  kuea-eval linear-probe --model runs/b16 --data digits/ --val-fraction 0.1',
  },
];

function taskCommand({ task, shape, description, data, example }: TaskCommand): Command {
  const note = `\n--data: ${data}.\n\nExamples:\n${example}\n`;
  return optionsCommand({
    name: task,
    description,
    examples: { everyday: `${note}\n--help-all shows every option.`, all: note },
    shape: { ...shape, ...distributedShape },
    presets: [],
    run: (asked) => run(task, asked),
  });
}

export function evalCommand(name: string): Command {
  const command = new Command(name)
    .description(
      'Measure a CLIP: did it help, and what did it forget? Features of images are cached: a second measurement of the same images ' +
        'decodes none, and one that was stopped goes on.',
    )
    .helpCommand(false);
  for (const task of tasks) command.addCommand(taskCommand(task));
  return command;
}
