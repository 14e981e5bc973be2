/** What every line of metrics.jsonl says about an update. */
export interface StepLine {
  /** Updates made, this one included. */
  step: number;
  epoch: number;
  lr: number;
  /** Of the update's batch, before it. */
  loss: number;
  /** How long the loop stood waiting for the batch, and how long its slowest part took to decode. */
  decode_wait_ms: number;
  decode_ms: number;
  /** Of the update on the device. */
  seconds: number;
}

/** A line of metrics.jsonl: the loss of what is held out, after `step` updates. */
export interface ValidationLine {
  step: number;
  val_loss: number;
  /** Images or conversations that it is the mean over. */
  val_samples: number;
}

/** A line of metrics.jsonl: what the suite of a run measures of its weights, after `step` updates. */
export interface EvaluationLine {
  step: number;
  /** By metric, the mean over the suite's sets that have it; null where one of them has no number. */
  evaluation: Readonly<Record<string, number | null>>;
  /** The same by set. */
  sets: Readonly<Record<string, Readonly<Record<string, number | null>>>>;
}

/** What happens in any run that trains, in order. */
export type RunEvent<Plan, Line extends StepLine> =
  /** Something that somebody should know or change, a sentence. */
  | { type: 'warning'; message: string }
  /** What it does now, until the next event; also before `start`. */
  | { type: 'phase'; name: string }
  /** `notes`: what the plan could not know, each a sentence. */
  | { type: 'start'; plan: Plan; notes: string[] }
  | { type: 'resume'; step: number; path: string }
  /** An update was made; those that are logged have a `step` as well. */
  | { type: 'tick'; step: number; steps: number }
  | ({ type: 'step'; steps: number } & Line)
  | ({ type: 'validation' } & ValidationLine)
  | ({ type: 'evaluation' } & EvaluationLine)
  /** `warning`: an old checkpoint that could not be removed, and why. */
  | { type: 'checkpoint'; step: number; path: string; warning?: string }
  | { type: 'export'; layout: string; path: string }
  | { type: 'done'; steps: number; interrupted: boolean; skipped: number; seconds: number };

export interface Exported {
  layout: string;
  path: string;
}

export interface RunResult<Line extends StepLine> {
  /** Updates made in total. */
  steps: number;
  /** Whether the signal stopped it before its last update. */
  interrupted: boolean;
  /** Metrics of the last logged update, and the last validation; absent when there was none. */
  metrics?: Line;
  validation?: ValidationLine;
  /** Undecodable images that were left out. */
  skipped: number;
  /** None when the run was interrupted. */
  exports: Exported[];
}
