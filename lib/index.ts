/** kuea: align a CLIP vision encoder to DINOv2, embed images with either, and tune and ask LLaVA, from Node. */
export { align, type AlignRun } from './align/align.js';
export type { LoraConfig, LoraOptions } from './lora/options.js';
export type { AlignConfig, AlignOptions } from './align/options.js';
export { placementOf, type Placement } from './distributed/environment.js';
export { withRanks, type JoinOptions } from './distributed/join.js';
export type { Ranks } from './distributed/ranks.js';
export { openEncoder, type Encoder, type OpenEncoderOptions } from './embed/encoder.js';
export { KueaError } from './errors.js';
export { finetune, type LoraRun } from './lora/finetune.js';
export { openLlava, type GenerateRequest, type Llava, type OpenLlavaOptions } from './generate/llava.js';
export type { AlignEvent, AlignResult } from './align/events.js';
export type { LoraEvent, LoraMetricsLine, LoraResult, ValidationLine } from './lora/events.js';
export type { LoraPlan } from './lora/plan.js';
export type { MetricsLine } from './run/metrics.js';
export type { AlignPlan } from './align/plan.js';
