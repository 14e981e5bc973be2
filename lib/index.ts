// Consumers whose lib is older than `await using`, and who have no @types/node, get AsyncDisposable from here.
/// <reference lib="esnext.disposable" preserve="true" />

/** kuea: align a CLIP vision encoder to DINOv2, embed images with either, and tune and ask LLaVA, from Node. */
export { type AlignRun, align } from './align/align.js';
export type {
  AlignEvent,
  AlignLine,
  /** @deprecated AlignLine */
  AlignLine as MetricsLine,
  AlignResult,
  AlignValidation,
} from './align/events.js';
export type { AlignConfig, AlignOptions } from './align/options.js';
export type { AlignPlan } from './align/plan.js';
export { type Placement, placementOf } from './distributed/environment.js';
export { type JoinOptions, withRanks } from './distributed/join.js';
export type { Ranks } from './distributed/ranks.js';
export { type Encoder, type EncodeTextsOptions, type OpenEncoderOptions, openEncoder } from './embed/encoder.js';
export { KueaError, type KueaErrorCode } from './errors.js';
export { type Prediction, type ZeroShotClassifier, zeroShotClassifier } from './eval/classifier.js';
export {
  type Compared,
  type CompareOptions,
  type Comparison,
  type ComparisonEvent,
  type ComparisonRun,
  compare,
  type Difference,
  type Regression,
} from './eval/compare.js';
export { type EvaluationRun, evaluate } from './eval/evaluate.js';
export type { EvaluationEvent, EvaluationResult } from './eval/events.js';
export type { EvaluateOptions } from './eval/options.js';
export { topK } from './eval/rank.js';
export { type GenerateRequest, type Llava, type OpenLlavaOptions, openLlava } from './generate/llava.js';
export type {
  LoraEvent,
  LoraLine,
  /** @deprecated LoraLine */
  LoraLine as LoraMetricsLine,
  LoraResult,
} from './lora/events.js';
export { finetune, type LoraRun } from './lora/finetune.js';
export type { LoraConfig, LoraOptions } from './lora/options.js';
export type { LoraPlan } from './lora/plan.js';
export type { Exported, RunEvent, RunResult, StepLine, ValidationLine } from './run/events.js';
