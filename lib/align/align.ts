import { oneRank, type Ranks } from '../distributed/ranks.js';
import { resolveDevice } from '../native/device.js';
import { loadAddon } from '../native/load.js';
import { type Run, startRun } from '../run/run.js';
import { type Program, runSession } from '../run/session.js';
import { runTask } from '../run/training.js';
import type { AlignEvent, AlignResult } from './events.js';
import { type AlignInputs, openInputs, planWithoutWeights } from './inputs.js';
import { type AlignConfig, type AlignOptions, freeAlignKeys, localAlignKeys, parseSavedAlign, resolveAlignConfig } from './options.js';
import type { AlignPlan } from './plan.js';
import { openTask } from './task.js';

export type AlignRun = Run<AlignEvent, AlignResult>;

/**
 * Aligns a CLIP vision encoder to a DINOv2 on images alone (the method of KUEA, ICML 2025): fine-tunes it until its kernel matrix matches
 * the teacher's while each embedding stays near its old place. Options are those of `kuea-align --help-all` in camelCase.
 *
 * When `signal` is aborted the step that runs is finished and saved, and the result says `interrupted`. Rejects with a KueaError; a
 * rejected run leaves its last checkpoint, and `resume: true` goes on from it.
 *
 * With `ranks` this is one of several processes that train the same model, each calling it with the same options. The batch is cut into
 * their parts; rank 0 alone writes into the run's folder. An abort on one rank stops all of them after the same step.
 */
export function align(options: AlignOptions, { signal, ranks = oneRank }: { signal?: AbortSignal; ranks?: Ranks } = {}): AlignRun {
  const warnings: string[] = [];
  const config = resolveAlignConfig(options, { ranks: ranks.worldSize, warn: (message) => warnings.push(message) });
  return startRun(async (emit) => {
    for (const message of warnings) emit({ type: 'warning', message });
    if (!config.dryRun) return runSession(program, config, { emit, signal, ranks });
    tellPlan(emit, await planWithoutWeights(config, ranks, resolveDevice(config.device, loadAddon().info(), ranks.localRank)));
    return { ...program.stopped, interrupted: false };
  });
}

function tellPlan(emit: (event: AlignEvent) => void, plan: AlignPlan): void {
  emit({ type: 'start', plan, notes: [] });
  for (const message of plan.warnings) emit({ type: 'warning', message });
}

const program: Program<AlignConfig, AlignInputs, AlignEvent, AlignResult> = {
  free: freeAlignKeys,
  local: localAlignKeys,
  parse: parseSavedAlign,
  stopped: { steps: 0, interrupted: true, skipped: 0, exports: [] },
  open: ({ config, ranks, device, emit }) => {
    emit({ type: 'phase', name: 'opening models and images' });
    return openInputs(config, ranks, device);
  },
  work: async (session, inputs) => {
    tellPlan(session.emit, inputs.plan);
    const task = await openTask(session, inputs);
    return task ? runTask(session, task) : program.stopped;
  },
};
