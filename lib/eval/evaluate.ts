import { parseOptions, type Telling } from '../config/options.js';
import { oneRank, type Ranks } from '../distributed/ranks.js';
import { KueaError } from '../errors.js';
import { writeFileAtomically } from '../files/atomic.js';
import { resolveDevice } from '../native/device.js';
import { loadAddon } from '../native/load.js';
import { type Run, startRun } from '../run/run.js';
import type { Evaluation, EvaluationEvent, EvaluationResult } from './events.js';
import { linearProbe } from './linear-probe.js';
import type { Measured } from './measured.js';
import { type EvaluateOptions, type EvaluationConfig, linearProbeSchema, retrievalSchema, zeroShotSchema } from './options.js';
import { retrieval } from './retrieval.js';
import { zeroShot } from './zero-shot.js';

export type EvaluationRun = Run<EvaluationEvent, EvaluationResult>;

/** A task with its options checked. */
export interface Asked {
  config: EvaluationConfig;
  measure: (evaluation: Evaluation) => Promise<Measured>;
}

/** Throws KueaError `bad_option`, `missing_option`, `unknown_option`. */
export function resolveEvaluation({ task, ...options }: EvaluateOptions, telling: Telling = {}): Asked {
  switch (task) {
    case 'zero-shot': {
      const config = parseOptions(zeroShotSchema, options, telling);
      return { config, measure: (evaluation) => zeroShot(config, evaluation) };
    }
    case 'retrieval': {
      const config = parseOptions(retrievalSchema, options, telling);
      return { config, measure: (evaluation) => retrieval(config, evaluation) };
    }
    case 'linear-probe': {
      const config = parseOptions(linearProbeSchema, options, telling);
      return { config, measure: (evaluation) => linearProbe(config, evaluation) };
    }
    default:
      throw new KueaError('bad_option', `expected a task among zero-shot, retrieval and linear-probe, found ${String(task)}`);
  }
}

/** This process's device, with the threads that were asked for. Throws KueaError `no_device`. */
export async function takeDevice({ device, threads }: Pick<EvaluationConfig, 'device' | 'threads'>, ranks: Ranks): Promise<string> {
  const addon = loadAddon();
  const found = resolveDevice(device, addon.info(), ranks.localRank);
  if (threads) await addon.setThreads(threads);
  return found;
}

/**
 * Measures a CLIP: zero-shot classification, retrieval or a linear probe, as CLIP_benchmark defines them (or, with protocol 'kuea-release',
 * as the published code of KUEA measured). Options are those of `kuea-eval TASK --help-all` in camelCase. Image features are cached by what
 * they depend on, so a second measurement of the same images decodes none, and one that was killed goes on where it was. Rejects with a
 * KueaError, and with the reason of `signal`.
 *
 * With `ranks` this is one of several processes that measure together, each embedding its part of the images; all resolve to the result.
 */
export function evaluate(
  options: EvaluateOptions,
  { signal, ranks = oneRank }: { signal?: AbortSignal; ranks?: Ranks } = {},
): EvaluationRun {
  const { config, measure } = resolveEvaluation(options);
  return startRun(async (emit) => {
    const device = await takeDevice(config, ranks);
    const { result } = await measure({ device, emit, signal, ranks });
    if (config.json !== undefined && ranks.rank === 0) await writeFileAtomically(config.json, `${JSON.stringify(result, null, 2)}\n`);
    emit({ type: 'result', result });
    return result;
  });
}
