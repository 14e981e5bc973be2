import { SkippedImages } from '../data/skipped.js';
import { agreedStop } from '../distributed/agreed-stop.js';
import { fromRank0, gather } from '../distributed/ranks.js';
import { KueaError } from '../errors.js';
import { loadAddon } from '../native/load.js';
import { packageVersion } from '../package.js';
import { bestCheckpoint, type Checkpoint, markBest, saveCheckpoint } from './checkpoints.js';
import type { EvaluationLine, Exported, RunEvent, RunResult, StepLine, ValidationLine } from './events.js';
import { train } from './loop.js';
import { MetricsFile } from './metrics.js';
import type { RunConfig } from './run-folder.js';
import type { Session } from './session.js';

/** Options that every program that trains has. */
export type TrainingConfig = RunConfig & { logEvery: number; saveEvery: number; keepCheckpoints: number; maxSkipped: number };

/** What measures a run's weights while it trains: every rank takes part. */
export interface Judge {
  /** Updates between two measurements; 0 for none between the first and the last. */
  every: number;
  /** Metric whose best checkpoint is kept. */
  best: string | undefined;
  /** Measures a checkpoint, or for null what the run began with; null when it was stopped. */
  measure(step: number, checkpoint: string | null): Promise<EvaluationLine | null>;
}

/** Batches of updates, read ahead of their consumer; a released one's memory is filled again. */
export interface Batches<Batch> extends AsyncIterable<Batch> {
  release(batch: Batch): void;
}

/** What a program trains, once its trainer is open. Every rank has one; those that write are called on rank 0 alone. */
export interface Task<Batch, Metrics, Line extends StepLine> {
  /** Updates to reach. */
  steps: number;
  /** Makes the trainer what it was at a checkpoint: rank 0 reads it, for all. */
  restore(checkpoint: Checkpoint): Promise<void>;
  /** Batches from update `start` on; undecodable images are told to `skipped`. */
  batches(start: number, skipped: SkippedImages): Batches<Batch>;
  learningRate(step: number): number;
  /** One update of all ranks; its metrics when `log` is set. */
  step(batch: Batch, lr: number, log: boolean): Promise<Metrics | null>;
  /** The line of metrics.jsonl, and the event, of a logged update. */
  line(step: number, batch: Batch, lr: number, metrics: Metrics): Line;
  /** Mean loss of what is held out, on every rank; null when there is nothing, or the signal of a rank stopped it. */
  validate(step: number): Promise<ValidationLine | null>;
  /** Null when nothing but the loss is asked for. */
  judge: Judge | null;
  /** Brings together, on every rank, what rank 0 is to write. */
  collect(): Promise<void>;
  /** Fills a checkpoint's folder. */
  write(folder: string): Promise<void>;
  /** Writes what the run is for, below its `export/`. */
  export(): AsyncIterable<Exported>;
  close(): Promise<void>;
}

/**
 * Trains to the end or to the signal: resume, loop, export. Closes the task, however it ends. Rejects with KueaError: what the task rejects
 * with, after which the last checkpoint stays, and `disk_full`.
 */
export async function runTask<Config extends TrainingConfig, Plan, Batch, Metrics, Line extends StepLine>(
  session: Session<Config, RunEvent<Plan, Line>>,
  task: Task<Batch, Metrics, Line>,
): Promise<RunResult<Line>> {
  const { checkpoint, config, emit, ranks } = session;
  const started = performance.now();
  try {
    if (checkpoint) {
      if (config.extend) await lengthen(session, task, checkpoint.step);
      await task.restore(checkpoint);
      emit({ type: 'resume', step: checkpoint.step, path: checkpoint.path });
    }
    const trained = await loop(session, task, checkpoint?.step ?? 0);
    const interrupted = trained.steps < task.steps;
    const exports: Exported[] = [];
    if (!interrupted && ranks.rank === 0) {
      emit({ type: 'phase', name: 'exporting' });
      for await (const made of task.export()) {
        exports.push(made);
        emit({ type: 'export', ...made });
      }
    }
    emit({ type: 'done', steps: trained.steps, interrupted, skipped: trained.skipped, seconds: (performance.now() - started) / 1000 });
    return { ...trained, interrupted, exports };
  } finally {
    await task.close();
  }
}

/** A run goes on past the end that it was planned for: its learning rate is that of the longer run from here on, which is said. */
async function lengthen<Config extends TrainingConfig, Plan, Batch, Metrics, Line extends StepLine>(
  { config, emit, folder }: Session<Config, RunEvent<Plan, Line>>,
  { steps, learningRate }: Task<Batch, Metrics, Line>,
  done: number,
): Promise<void> {
  if (steps <= done)
    throw new KueaError('bad_option', `expected more updates than the ${done} that the run in ${folder.path} has made, found ${steps}`);
  await folder.lengthen(config);
  const rate = (step: number) => learningRate(step).toPrecision(3);
  emit({
    type: 'warning',
    message:
      `the run is lengthened to ${steps} updates: its learning rate follows the schedule of a run of ${steps} from update ${done + 1} on ` +
      `(${rate(done)} now, ${rate(steps - 1)} at the last), while the first ${done} followed the one that they were begun with`,
  });
}

/** A frozen weight that somebody rewrites in place changes what is trained: better no checkpoint of that. */
function checkMapped(): void {
  const [changed] = loadAddon().changedFiles();
  if (changed === undefined) return;
  throw new KueaError(
    'file_changed',
    `expected ${changed} to stay as it was while it is used, found it rewritten or cut short: bring it back and go on with --resume`,
  );
}

type Trained<Line extends StepLine> = Pick<RunResult<Line>, 'steps' | 'metrics' | 'validation' | 'skipped'>;

async function loop<Config extends TrainingConfig, Plan, Batch, Metrics, Line extends StepLine>(
  { config, folder, emit, signal, ranks }: Session<Config, RunEvent<Plan, Line>>,
  task: Task<Batch, Metrics, Line>,
  start: number,
): Promise<Trained<Line>> {
  const { steps } = task;
  const writes = ranks.rank === 0;
  const skipped = writes
    ? await SkippedImages.open(folder.file('skipped.jsonl'), config.maxSkipped)
    : SkippedImages.inMemory(config.maxSkipped);
  // What a run that was killed before its first checkpoint wrote is written again, the loss before the first update too.
  const metricsFile = writes ? await MetricsFile.open(folder.file('metrics.jsonl'), start === 0 ? -1 : start) : null;
  const latest: Pick<Trained<Line>, 'metrics' | 'validation'> = {};
  const validate = async (step: number) => {
    const line = await task.validate(step);
    if (!line) return;
    latest.validation = line;
    await metricsFile?.write(line);
    emit({ type: 'validation', ...line });
  };
  const { judge } = task;
  const evaluate = async (step: number, checkpoint: string | null, isKnown = false) => {
    const line = await judge?.measure(step, checkpoint);
    if (!line || isKnown) return;
    await metricsFile?.write(line);
    emit({ type: 'evaluation', ...line });
    if (checkpoint === null || judge?.best === undefined || !writes) return;
    const metric = line.evaluation[judge.best];
    const former = await bestCheckpoint(folder);
    if (typeof metric === 'number' && !(former && former.metric >= metric)) await markBest(folder, step, metric, config.keepCheckpoints);
  };
  const judged = (step: number) => judge !== null && (step === steps || (judge.every > 0 && step % judge.every === 0));
  const batches = task.batches(start, skipped);
  const stop = agreedStop(ranks, signal);
  try {
    if (start === 0) await validate(0);
    // What later measurements are held against, for a resumed run too.
    if (start < steps) await evaluate(0, null, start > 0);
    const done = await train<Batch, Metrics>({
      batches,
      start,
      steps,
      logEvery: config.logEvery,
      savesAfter: (step) => (config.saveEvery > 0 && step % config.saveEvery === 0) || judged(step),
      learningRate: (step) => task.learningRate(step),
      step: async (batch, step, lr, log) => {
        ranks.atStep(step + 1);
        const metrics = await task.step(batch, lr, log);
        stop.afterStep();
        return metrics;
      },
      release: (batch) => batches.release(batch),
      onStep: async (step, batch, lr, metrics) => {
        emit({ type: 'tick', step, steps });
        if (!metrics) return;
        latest.metrics = task.line(step, batch, lr, metrics);
        await metricsFile?.write(latest.metrics);
        emit({ type: 'step', steps, ...latest.metrics });
      },
      save: async (step) => {
        await validate(step);
        await task.collect();
        // The others' undecodable images are listed with rank 0's.
        const found = await gather(ranks, 'skipped', skipped.takeFresh());
        checkMapped();
        const write = async () => {
          await folder.check();
          for (const image of found.flat()) await skipped.add(image);
          const saved = await saveCheckpoint(folder, step, packageVersion(), config.keepCheckpoints, (path) => task.write(path));
          emit({ type: 'checkpoint', ...saved });
          return saved.path;
        };
        if (judged(step)) await evaluate(step, await fromRank0(ranks, 'checkpoint', write));
        else if (writes) await write();
      },
      signal: stop.signal,
    });
    return { steps: done, skipped: skipped.count, ...latest };
  } finally {
    stop.end();
    await metricsFile?.close();
  }
}
