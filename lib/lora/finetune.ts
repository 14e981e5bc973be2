import { oneRank, type Ranks } from '../distributed/ranks.js';
import { resolveDevice } from '../native/device.js';
import { loadAddon } from '../native/load.js';
import { type Run, startRun } from '../run/run.js';
import { orStopped, type Program, runSession } from '../run/session.js';
import { runTask } from '../run/training.js';
import { planWithoutWeights } from './dry-run.js';
import type { LoraEvent, LoraResult } from './events.js';
import { type LoraInputs, openInputs } from './inputs.js';
import { freeLoraKeys, type LoraConfig, type LoraOptions, localLoraKeys, parseSavedLora, resolveLoraConfig } from './options.js';
import type { LoraPlan } from './plan.js';
import { openTask } from './task.js';

export type LoraRun = Run<LoraEvent, LoraResult>;

/**
 * Fine-tunes a LLaVA-1.5 by LoRA: a low-rank adapter on every linear map of its language model, and its projector with it. Options are
 * those of `kuea-lora --help-all` in camelCase.
 *
 * When `signal` is aborted the update that runs is finished and saved, and the result says `interrupted`. Rejects with a KueaError; a
 * rejected run leaves its last checkpoint, and `resume: true` goes on from it.
 *
 * With `ranks` this is one of several processes that train the same adapter, each calling it with the same options: each holds the base,
 * takes its micro-batches of every update, and keeps its part of the moments. Rank 0 alone writes into the run's folder. An abort on one
 * rank stops all of them after the same update.
 */
export function finetune(options: LoraOptions, { signal, ranks = oneRank }: { signal?: AbortSignal; ranks?: Ranks } = {}): LoraRun {
  const warnings: string[] = [];
  const config = resolveLoraConfig(options, { ranks: ranks.worldSize, warn: (message) => warnings.push(message) });
  return startRun(async (emit) => {
    for (const message of warnings) emit({ type: 'warning', message });
    if (!config.dryRun) return runSession(program, config, { emit, signal, ranks });
    const device = resolveDevice(config.device, loadAddon().info(), ranks.localRank);
    const planned = await orStopped(signal, planWithoutWeights(config, ranks.worldSize, device, signal));
    if (planned) tellPlan(emit, planned.plan, planned.notes);
    return { ...program.stopped, interrupted: planned === null };
  });
}

function tellPlan(emit: (event: LoraEvent) => void, plan: LoraPlan, notes: string[]): void {
  emit({ type: 'start', plan, notes });
  for (const message of plan.warnings) emit({ type: 'warning', message });
}

const program: Program<LoraConfig, LoraInputs, LoraEvent, LoraResult> = {
  free: freeLoraKeys,
  local: localLoraKeys,
  parse: parseSavedLora,
  stopped: { steps: 0, interrupted: true, skipped: 0, exports: [] },
  open: (session) => {
    session.emit({ type: 'phase', name: 'opening the model and looking at the data' });
    return openInputs(session);
  },
  work: async (session, inputs) => {
    tellPlan(session.emit, inputs.plan, []);
    return withOldName(await runTask(session, await openTask(session, inputs)));
  },
};

/** 0.1 said `export` where every program now says `exports`. */
function withOldName(result: LoraResult): LoraResult {
  const get = () => {
    process.emitWarning('result.export of finetune is now result.exports[0].path', 'DeprecationWarning', 'KUEA_EXPORT');
    return result.exports[0]?.path;
  };
  return Object.defineProperty(result, 'export', { get, enumerable: false });
}
