/** kuea: align a CLIP vision encoder to DINOv2, embed images with either, and tune and ask LLaVA, from Node. */
export { align, type AlignRun } from './align.js';
export type { LoraConfig, LoraOptions } from './config/lora-schema.js';
export type { AlignConfig, AlignOptions } from './config/schema.js';
export { placementOf, type Placement } from './dist/environment.js';
export { withRanks, type JoinOptions } from './dist/join.js';
export type { Ranks } from './dist/ranks.js';
export { openEncoder, type Encoder, type OpenEncoderOptions } from './encoder.js';
export { KueaError } from './errors.js';
export { finetune, type LoraRun } from './finetune.js';
export { openLlava, type GenerateRequest, type Llava, type OpenLlavaOptions } from './llava.js';
export type { AlignEvent, AlignResult } from './train/events.js';
export type { LoraEvent, LoraMetricsLine, LoraResult, ValidationLine } from './train/lora-events.js';
export type { LoraPlan } from './train/lora-plan.js';
export type { MetricsLine } from './train/metrics.js';
export type { AlignPlan } from './train/plan.js';
