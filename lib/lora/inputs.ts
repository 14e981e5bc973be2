import { openSamples } from '../data/conversations/open.js';
import { UpdateSampler } from '../data/conversations/sampler.js';
import type { SampleSource } from '../data/conversations/source.js';
import { split } from '../data/split.js';
import { type LlavaWeights, openLlava } from '../models/llava/open.js';
import type { Inputs, Session } from '../run/session.js';
import { openTokenizer } from '../text/tokenizer.js';
import type { LoraEvent } from './events.js';
import type { LoraConfig } from './options.js';
import { adapterShape, cardBytes, type LoraPlan, planLora } from './plan.js';

/** The LLaVA and the conversations of a fine-tuning: understood, not yet read. */
export interface LoraInputs extends Inputs {
  llava: LlavaWeights;
  source: SampleSource;
  sampler: UpdateSampler;
  /** Of the samples that are held out; null when there are none. */
  heldOut: UpdateSampler | null;
  plan: LoraPlan;
}

/**
 * Throws KueaError: what opening the model and the samples throws. What cannot be used of the samples is listed in the run's folder.
 * Several ranks stop together, after an update: here one might leave and the others wait for it.
 */
export async function openInputs({
  config,
  device,
  folder,
  ranks,
  signal,
}: Omit<Session<LoraConfig, LoraEvent>, 'checkpoint'>): Promise<LoraInputs> {
  const llava = await openModel(config);
  const reportFile = ranks.rank === 0 ? folder.file('preflight.jsonl') : undefined;
  const source = await openSource(config, llava, reportFile, ranks.group ? undefined : signal);
  try {
    const samplers = samplersOf(config, source, ranks.worldSize);
    const plan = planOf(config, llava, source, samplers, ranks.worldSize, device);
    const { language, vision } = llava.trainedOn;
    // Other ranks may go on with a run, and with another --grad-accum, as long as an update has as many samples.
    const fingerprints = async () => ({ language, vision, data: await source.fingerprint(), effectiveBatch: String(plan.effectiveBatch) });
    return { llava, source, ...samplers, plan, fingerprints, close: () => source.close() };
  } catch (error) {
    await source.close();
    throw error;
  }
}

function openModel({ model, visionTower, activation, projector, adapter, visionFeature, anyBase }: LoraConfig): Promise<LlavaWeights> {
  return openLlava(model, { visionTower, activation, projector, adapter, feature: visionFeature, anyBase });
}

async function openSource(
  config: LoraConfig,
  llava: LlavaWeights,
  reportFile: string | undefined,
  signal: AbortSignal | undefined,
): Promise<SampleSource> {
  const { data, images, maxLength, missing, verifyImages } = config;
  const { image, patches, imageToken } = llava;
  const tokenizer = data.endsWith('.safetensors') ? null : await openTokenizer(llava.folder);
  return openSamples(data, { images, tokenizer, ...image, patches, imageToken, maxLength, missing, verifyImages, reportFile, signal });
}

function samplersOf(config: LoraConfig, source: SampleSource, ranks: number): Pick<LoraInputs, 'sampler' | 'heldOut'> {
  const { valFraction, seed, microBatch: batchSize, gradAccum, shuffle, groupByModalityLength } = config;
  const { train: members, validation } = split(source.length, valFraction, seed);
  const common = { lengths: source.lengths, batchSize, gradAccum, ranks, seed };
  const order = !shuffle ? 'sequential' : groupByModalityLength ? 'modality-length' : 'shuffle';
  return {
    sampler: new UpdateSampler({ ...common, members, order }),
    heldOut: validation.length > 0 ? new UpdateSampler({ ...common, members: validation, order: 'sequential' }) : null,
  };
}

function planOf(
  config: LoraConfig,
  { model, adapter }: LlavaWeights,
  source: SampleSource,
  { sampler, heldOut }: Pick<LoraInputs, 'sampler' | 'heldOut'>,
  ranks: number,
  device: string,
): LoraPlan {
  const { vision, llama, feature } = model;
  return planLora(config, {
    vision,
    llama,
    feature,
    ...adapterShape(config, adapter),
    samples: sampler.samples,
    validation: heldOut?.samples ?? 0,
    leftOut: source.skipped,
    pixelBytes: source.pixels === 'u8' ? 1 : 4,
    ranks,
    device,
    card: cardBytes(config),
  });
}
