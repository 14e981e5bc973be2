/** kuea: align a CLIP vision encoder to DINOv2, and embed images with either, from Node. */
export { align, type AlignRun } from './align.js';
export type { AlignConfig, AlignOptions } from './config/schema.js';
export { openEncoder, type Encoder, type OpenEncoderOptions } from './encoder.js';
export { KueaError } from './errors.js';
export type { AlignEvent, AlignResult } from './train/events.js';
export type { MetricsLine } from './train/metrics.js';
export type { AlignPlan } from './train/plan.js';
