import { Sampler } from '../data/images/sampler.js';
import type { Source } from '../data/images/source.js';
import { openSource } from '../data/images/sources.js';
import { split } from '../data/split.js';
import { openWeights, type WeightsFile } from '../models/open.js';
import { imagenetStatistics } from '../models/preprocessing.js';
import { readShape } from '../models/read-shape.js';
import type { Arch, EncoderSpec } from '../native/addon.js';
import type { Inputs } from '../run/session.js';
import type { AlignConfig } from './options.js';
import { type AlignPlan, planAlignment } from './plan.js';

/** What gives the validation loss. */
export interface HeldOut {
  source: Source;
  sampler: Sampler;
  /** Whether its images are of the data, and so have rows in the cache. */
  isOfData: boolean;
}

/** Models and images of an alignment: understood, not yet read. */
export interface AlignInputs extends Inputs {
  student: WeightsFile;
  teacher: WeightsFile;
  source: Source;
  sampler: Sampler;
  heldOut: HeldOut | null;
  plan: AlignPlan;
}

type Place = { rank: number; worldSize: number };

/** Throws KueaError: what opening models and images throws, and `bad_option` and `too_few_images` for a batch that they do not fill. */
export async function openInputs(config: AlignConfig, ranks: Place, device: string): Promise<AlignInputs> {
  const student = await openWeights(config.student, { role: 'student', activation: config.activation });
  const teacher = await openWeights(config.teacher, { role: 'teacher' });
  const images = await openImages(config, ranks);
  try {
    const { source, sampler, heldOut } = images;
    const plan = planOf(config, { student: student.arch, teacher: teacher.arch }, images, ranks.worldSize, device);
    const fingerprints = async () => ({
      student: await student.fingerprint(),
      teacher: await teacher.fingerprint(),
      data: await source.fingerprint(),
      ...(heldOut && !heldOut.isOfData ? { valData: await heldOut.source.fingerprint() } : {}),
    });
    return { student, teacher, source, sampler, heldOut, plan, fingerprints, close: images.close };
  } catch (error) {
    await images.close();
    throw error;
  }
}

/** What a run would do, without the weights of models on the hub. Throws what openInputs throws. */
export async function planWithoutWeights(config: AlignConfig, ranks: Place, device: string): Promise<AlignPlan> {
  const student = await readShape(config.student, { role: 'student', activation: config.activation });
  const teacher = await readShape(config.teacher, { role: 'teacher' });
  const images = await openImages(config, ranks);
  await images.close();
  return planOf(config, { student, teacher }, images, ranks.worldSize, device);
}

type Images = Pick<AlignInputs, 'source' | 'sampler' | 'heldOut' | 'close'>;

async function openImages(config: AlignConfig, { rank, worldSize }: Place): Promise<Images> {
  const { data, valData, valFraction, batchSize, seed, shuffle, fraction } = config;
  const source = await openSource(data);
  const other = valData === undefined ? null : await openSource(valData);
  const close = async () => {
    await source.close();
    await other?.close();
  };
  try {
    const { train, validation } = split(source.length, valFraction, seed);
    const sampler = new Sampler({ length: source.length, among: train, batchSize, seed, shuffle, fraction, rank, worldSize });
    const held = other?.length ?? validation.length;
    if (held === 0) return { source, sampler, heldOut: null, close };
    const among = other ? {} : { among: validation };
    // As many images a loss as in training, since a kernel's loss depends on it.
    const few = { length: held, ...among, batchSize: Math.min(batchSize, held), seed, shuffle: false, rank, worldSize };
    return { source, sampler, heldOut: { source: other ?? source, sampler: new Sampler(few), isOfData: !other }, close };
  } catch (error) {
    await close();
    throw error;
  }
}

function planOf(
  config: AlignConfig,
  shapes: { student: Arch; teacher: Arch },
  { source, sampler, heldOut }: Images,
  ranks: number,
  device: string,
): AlignPlan {
  const validation = heldOut?.sampler.images ?? 0;
  return planAlignment(config, { ...shapes, images: sampler.images, validation, rows: source.length, ranks, device });
}

/** The two models as the addon opens them. The published run normalises the teacher's pixels with CLIP's statistics. */
export function encoderSpecs(
  { teacherStatistics }: AlignConfig,
  { student, teacher }: Pick<AlignInputs, 'student' | 'teacher'>,
): { student: EncoderSpec; teacher: EncoderSpec } {
  const spec = ({ arch, plan, mean, std }: WeightsFile): EncoderSpec => ({ arch, weights: plan, mean, std });
  const statistics = teacherStatistics === 'clip' ? { mean: student.mean, std: student.std } : imagenetStatistics;
  return { student: spec(student), teacher: { ...spec(teacher), ...statistics } };
}

/** As the published loop prepares its images: open_clip's evaluation transform at the student's size. */
export const preprocessingOf = ({ resample }: AlignConfig, { student }: Pick<AlignInputs, 'student'>) => ({
  resize: student.arch.imageSize,
  crop: student.arch.imageSize,
  mode: resample,
});
