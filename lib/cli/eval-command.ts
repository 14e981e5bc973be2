import { Command } from 'commander';

import type { DistributedConfig } from '../config/distributed.js';
import type { Shape } from '../config/options.js';
import type { Ranks } from '../distributed/ranks.js';
import { type CompareOptions, compare, compareSchema, resolveComparison } from '../eval/compare.js';
import { evaluate, resolveEvaluation } from '../eval/evaluate.js';
import type { EvaluationEvent } from '../eval/events.js';
import { type EvaluateOptions, linearProbeSchema, retrievalSchema, zeroShotSchema } from '../eval/options.js';
import { comparedText, comparisonText, evalText, resultText } from './eval-progress.js';
import { type Asked, flagName, optionsCommand } from './options-command.js';
import { output } from './output.js';
import { eventPrinter } from './progress.js';
import { distributedShape, runRanked, splitDistributed } from './ranked.js';

type Task = EvaluateOptions['task'];

type Printed = Exclude<EvaluationEvent, { type: 'result' }>;

/** Runs on the ranks that are asked for; rank 0 prints. `work` gives what the run says at its end. */
async function onRanks(
  name: string,
  distributed: DistributedConfig,
  device: string,
  json: boolean,
  work: (ranks: Ranks, signal: AbortSignal, print: (event: Printed) => void) => Promise<string>,
): Promise<void> {
  await runRanked({ name: `kuea-eval ${name}`, distributed, device, dryRun: false, json }, async (ranks, signal) => {
    const printer = eventPrinter<Printed>(json, evalText);
    try {
      const said = await work(ranks, signal, (event) => {
        if (ranks.rank === 0) printer.print(event);
      });
      printer.close();
      if (ranks.rank === 0 && !json) output.block(said);
      return false;
    } catch (error) {
      if (signal.aborted && error === signal.reason) return true;
      throw error;
    } finally {
      printer.close();
    }
  });
}

async function run(task: Task, { options, warnings }: Asked): Promise<void> {
  const { own, distributed } = splitDistributed(options);
  const asked = { task, ...own } as EvaluateOptions;
  const { config } = resolveEvaluation(asked, { name: flagName, warn: (message) => warnings.push(message) });
  await onRanks(task, distributed, config.device, false, async (ranks, signal, print) => {
    for (const message of warnings) print({ type: 'warning', message });
    const evaluation = evaluate(asked, { signal, ranks });
    for await (const event of evaluation) if (event.type !== 'result') print(event);
    return resultText(await evaluation.result);
  });
}

async function runComparison({ options, json, warnings }: Asked): Promise<void> {
  const { own, distributed } = splitDistributed(options);
  const config = resolveComparison(own as CompareOptions, { name: flagName, warn: (message) => warnings.push(message) });
  await onRanks('compare', distributed, config.device, json, async (ranks, signal, print) => {
    for (const message of warnings) print({ type: 'warning', message });
    const comparison = compare(config, { signal, ranks });
    for await (const event of comparison) {
      if (event.type !== 'evaluation') print(event);
      else if (ranks.rank === 0 && json) output.json(event);
      else if (ranks.rank === 0) output.block(comparedText(event.compared));
    }
    return comparisonText(await comparison.result);
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

const compareExamples = `
The first of the models is what the others are held against. Intervals hold 95 %
of 10,000 resamples of the images.

Examples:
  kuea-eval compare openai/clip-vit-base-patch16 runs/b16 --out compared
  kuea-eval compare A B C --suite mine.yaml --out compared
`;

const compareCommand = () =>
  optionsCommand({
    name: 'compare',
    description: 'Measure several CLIPs by a suite: differences with their intervals, averages, the worst regressions.',
    examples: { everyday: `${compareExamples}\n--help-all shows every option.`, all: compareExamples },
    shape: { ...compareSchema.shape, ...distributedShape },
    operands: 'models',
    presets: [],
    run: runComparison,
  });

export function evalCommand(name: string): Command {
  const command = new Command(name)
    .description(
      'Measure a CLIP: did it help, and what did it forget? Features of images are cached: a second measurement of the same images ' +
        'decodes none, and one that was stopped goes on.',
    )
    .helpCommand(false);
  for (const task of tasks) command.addCommand(taskCommand(task));
  command.addCommand(compareCommand());
  return command;
}
