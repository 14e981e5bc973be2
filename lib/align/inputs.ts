import { Sampler } from '../data/images/sampler.js';
import type { Source } from '../data/images/source.js';
import { openSource } from '../data/images/sources.js';
import { openWeights, type WeightsFile } from '../models/open.js';
import { imagenetStatistics } from '../models/preprocessing.js';
import type { ClipVisionArch, Dinov2Arch, EncoderSpec } from '../native/addon.js';
import type { Inputs } from '../run/session.js';
import type { AlignConfig } from './options.js';
import { type AlignPlan, planAlignment } from './plan.js';

/** Models and images of an alignment: understood, not yet read. */
export interface AlignInputs extends Inputs {
  student: WeightsFile & { arch: ClipVisionArch };
  teacher: WeightsFile & { arch: Dinov2Arch };
  source: Source;
  sampler: Sampler;
  plan: AlignPlan;
}

/** Throws KueaError: what opening models and images throws, and `bad_option` and `too_few_images` for a batch that they do not fill. */
export async function openInputs(
  config: AlignConfig,
  { rank, worldSize }: { rank: number; worldSize: number },
  device: string,
): Promise<AlignInputs> {
  const student = (await openWeights(config.student, { family: 'clip', activation: config.activation })) as AlignInputs['student'];
  const teacher = (await openWeights(config.teacher, { family: 'dinov2' })) as AlignInputs['teacher'];
  const source = await openSource(config.data);
  try {
    const { batchSize, seed, shuffle, fraction } = config;
    const sampler = new Sampler({ length: source.length, batchSize, seed, shuffle, fraction, rank, worldSize });
    const plan = planAlignment(config, { student: student.arch, teacher: teacher.arch, images: sampler.images, ranks: worldSize, device });
    const fingerprints = async () => ({
      student: await student.fingerprint(),
      teacher: await teacher.fingerprint(),
      data: await source.fingerprint(),
    });
    return { student, teacher, source, sampler, plan, fingerprints, close: () => source.close() };
  } catch (error) {
    await source.close();
    throw error;
  }
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
