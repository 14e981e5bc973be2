import { availableParallelism } from 'node:os';

import { Command, Option } from 'commander';
import { z } from 'zod';

import { align } from '../align.js';
import { parseSetting, presetNames, readConfigFile, readPreset } from '../config/files.js';
import { distributedKeys, distributedSchema, resolveDistributed, type DistributedConfig, type DistributedKey } from '../config/distributed.js';
import { camelCase, kebabCase, nearest } from '../config/keys.js';
import { alignKeys, alignSchema, resolveAlignConfig, type AlignConfig, type AlignKey, type Group } from '../config/schema.js';
import { placementOf, type Placement } from '../dist/environment.js';
import { withRanks } from '../dist/join.js';
import { launch } from '../dist/launch.js';
import { launched } from '../dist/launched.js';
import { oneRank, type Ranks } from '../dist/ranks.js';
import { KueaError } from '../errors.js';
import { formatPlan } from '../train/plan.js';
import { eventPrinter } from './progress.js';

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

type Key = AlignKey | DistributedKey;
const shape: Record<Key, z.ZodType> = { ...alignSchema.shape, ...distributedSchema.shape };
const keys = Object.keys(shape) as Key[];

/** The innermost schema of a key, and its default. */
function describe(key: Key): { group: Group; help: string; type: z.ZodType; fallback: unknown } {
  const schema = shape[key];
  const { group, help } = schema.meta() as { group: Group; help: string };
  let type = schema;
  let fallback: unknown;
  while (type instanceof z.ZodDefault || type instanceof z.ZodOptional) {
    if (type instanceof z.ZodDefault) fallback = type.def.defaultValue;
    type = type.unwrap() as z.ZodType;
  }
  return { group, help, type, fallback };
}

function number(text: string): number | string {
  const value = Number(text);
  // Left as text when it is none: the schema says what was expected, for every way a value can come in.
  return text.trim() === '' || Number.isNaN(value) ? text : value;
}

/** The flag of a key; a boolean that is on by default has --no-KEY alone. */
function flagOf(key: Key): { option: Option; group: Group } {
  const { group, help, type, fallback } = describe(key);
  const name = kebabCase(key);
  const shown = fallback === undefined || fallback === false ? help : `${help} (default: ${String(fallback)})`;
  if (type instanceof z.ZodBoolean) return { group, option: fallback === true ? new Option(`--no-${name}`, `do not ${help}`) : new Option(`--${name}`, shown) };
  if (type instanceof z.ZodArray) {
    const choices = (type.element as z.ZodEnum).options.join('|');
    return { group, option: new Option(`--${name} <${choices}...>`, shown) };
  }
  if (type instanceof z.ZodEnum) return { group, option: new Option(`--${name} <${type.options.join('|')}>`, shown) };
  if (type instanceof z.ZodString) return { group, option: new Option(`--${name} <ref>`, shown) };
  return { group, option: new Option(`--${name} <n>`, shown).argParser(number) };
}

/** Options in the order of precedence: defaults < --preset or --config < --set < flags. */
async function gather(flags: Record<string, unknown>): Promise<{ config: AlignConfig; distributed: DistributedConfig }> {
  const { preset, config, set, json: _, ...own } = flags as { preset?: string; config?: string; set?: string[]; json?: boolean };
  if (preset !== undefined && config !== undefined) throw new KueaError('bad_option', 'expected --preset or --config, found both: leave one out');
  const file = preset !== undefined ? await readPreset(preset) : config !== undefined ? await readConfigFile(config) : {};
  const settings = Object.fromEntries((set ?? []).map(parseSetting));
  const merged: Record<string, unknown> = { ...file, ...settings, ...own };
  // A length on the command line replaces the file's, whichever of the two ways it is given in.
  if ('steps' in own && !('epochs' in own)) delete merged['epochs'];
  if ('epochs' in own && !('steps' in own)) delete merged['steps'];
  const ofLaunch = (key: string) => (distributedKeys as string[]).includes(key);
  const part = (wanted: boolean) => Object.fromEntries(Object.entries(merged).filter(([key]) => ofLaunch(key) === wanted));
  return { config: resolveAlignConfig(part(false)), distributed: resolveDistributed(part(true)) };
}

/** Roughly what a core of today does, for the estimate of a dry run. */
const assumedFlops = (config: AlignConfig) => availableParallelism() * (config.precision === 'bf16' ? 160e9 : 85e9);

/** Who this process is to be: a rank that somebody has placed, or the launcher of ranks, or neither. */
function roleOf({ nproc, nnodes }: DistributedConfig): { placement: Placement | null; launches: boolean } {
  if (launched || nproc === undefined) {
    const placement = placementOf(process.env);
    return { placement: placement && placement.worldSize > 1 ? placement : null, launches: false };
  }
  if (process.env['LOCAL_RANK'] !== undefined) {
    throw new KueaError('bad_option', `expected --nproc or ranks that another launcher has started, found both (LOCAL_RANK is ${process.env['LOCAL_RANK']}): leave --nproc out`);
  }
  return { placement: null, launches: nproc * nnodes > 1 };
}

/** One process's part: all of the run, or one rank's. Resolves to the exit code. */
async function train(config: AlignConfig, ranks: Ranks, json: boolean, machines = 1): Promise<number> {
  const controller = new AbortController();
  let code = 143;
  const stop = (signal: NodeJS.Signals, exitCode: number) => {
    code = exitCode;
    // Of several ranks, whoever started them says what a second signal means.
    if (ranks.group) return controller.abort();
    if (controller.signal.aborted) process.exit(exitCode);
    if (!json) console.error(`\n${signal}: finishing this step and saving; once more to stop at once`);
    controller.abort();
  };
  const onInterrupt = () => stop('SIGINT', 130);
  const onTerminate = () => stop('SIGTERM', 143);
  process.on('SIGINT', onInterrupt);
  process.on('SIGTERM', onTerminate);
  const printer = eventPrinter(json);
  try {
    const alignment = align(config, { signal: controller.signal, ranks });
    for await (const event of alignment) {
      if (ranks.rank > 0) continue;
      if (config.dryRun && event.type === 'start' && !json) console.log(formatPlan(event.plan, machines * assumedFlops(config)));
      else printer.print(event);
    }
    return (await alignment.result).interrupted ? code : 0;
  } finally {
    printer.close();
    process.off('SIGINT', onInterrupt);
    process.off('SIGTERM', onTerminate);
  }
}

async function run(flags: Record<string, unknown>): Promise<void> {
  const { config, distributed } = await gather(flags);
  const json = flags['json'] === true;
  const { placement, launches } = roleOf(distributed);
  const { nproc = 1, nnodes, masterAddr = '127.0.0.1' } = distributed;
  if (config.dryRun) {
    const planned = placement ?? { rank: 0, worldSize: nproc * nnodes, localWorldSize: nproc };
    process.exitCode = await train(config, { ...oneRank, rank: planned.rank, worldSize: planned.worldSize }, json, planned.worldSize / planned.localWorldSize);
  } else if (launches) {
    process.exitCode = await launch({ ...distributed, nproc, masterAddr, name: 'kuea-align', quiet: json });
  } else if (placement) {
    process.exitCode = await withRanks(placement, { device: config.device, ...distributed }, (ranks) => train(config, ranks, json));
  } else {
    process.exitCode = await train(config, oneRank, json);
  }
}

export function alignCommand(name: string): Command {
  const command = new Command(name)
    .description('Fine-tune a CLIP vision encoder until its kernel matrix matches DINOv2\'s, from images alone, while every\nembedding stays near its old place: the text encoder and what was built on the old one go on working.')
    .addHelpText('after', examples)
    .configureHelp({ helpWidth: 110 })
    .allowExcessArguments(true);
  command.addOption(new Option('--preset <name>', `a published recipe: ${presetNames().join(', ')}`).helpGroup('Recipe:'));
  command.addOption(new Option('--config <file>', 'a YAML file of options (batch_size: 64)').helpGroup('Recipe:'));
  command.addOption(new Option('--set <key=value...>', 'any option by its key; stronger than the recipe, weaker than its flag').helpGroup('Recipe:'));
  for (const key of keys) {
    const { option, group } = flagOf(key);
    command.addOption(option.helpGroup(`${group}:`));
  }
  command.addOption(new Option('--json', 'print every event as a line of JSON').helpGroup('Run:'));
  command.showSuggestionAfterError(false);
  // Our own message: commander's would not know the keys' other spellings.
  command.allowUnknownOption(true);
  return command.action(async (flags: Record<string, unknown>, self: Command) => {
    const stray = self.args.find((word) => word.startsWith('-'));
    if (stray) {
      const known = [...keys, 'preset', 'config', 'set', 'json'];
      const key = camelCase(stray.replace(/^--?(no-)?/, '').replace(/=.*/, ''));
      throw new KueaError('unknown_option', `unknown option ${stray}: did you mean --${kebabCase(nearest(key, known))}?`);
    }
    if (self.args.length > 0) throw new KueaError('unknown_option', `expected options alone, found ${self.args[0]}`);
    // Only what was typed: a --no-KEY that was not must not outweigh a file.
    const typed = Object.fromEntries(Object.entries(flags).filter(([key]) => self.getOptionValueSource(key) === 'cli'));
    await run(typed);
  });
}
