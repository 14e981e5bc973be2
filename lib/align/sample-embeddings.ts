import type { Preprocessing } from '../data/images/geometry.js';
import { Loader } from '../data/images/loader.js';
import { Sampler } from '../data/images/sampler.js';
import type { Source } from '../data/images/source.js';
import { SkippedImages } from '../data/skipped.js';
import type { Addon, EncoderSpec } from '../native/addon.js';
import type { EmbeddingSample } from './fit-kernel.js';

/** Images embedded at a time. */
const batchSize = 32;

/** Original student and teacher embeddings (fp32) of `count` images drawn by `seed`: what `--fit-kernel` searches on. */
export async function sampleEmbeddings(
  addon: Addon,
  models: { student: EncoderSpec; teacher: EncoderSpec; teacherSize: number; device: string },
  data: { source: Source; preprocessing: Preprocessing; count: number; seed: number; maxSkipped: number },
  signal?: AbortSignal,
): Promise<EmbeddingSample> {
  const { source, preprocessing, seed, maxSkipped } = data;
  const size = preprocessing.crop;
  const wanted = Math.min(data.count, source.length);
  const batch = Math.min(batchSize, wanted);
  const sampler = new Sampler({ length: source.length, batchSize: batch, seed, shuffle: true });
  const slots = Array.from({ length: 2 }, () => new Uint8Array(batch * 3 * size * size));
  const steps = Math.floor(wanted / batch);
  const loader = new Loader({
    source,
    sampler,
    slots,
    preprocessing,
    startStep: 0,
    endStep: steps,
    skipped: SkippedImages.inMemory(maxSkipped),
    ...(signal ? { signal } : {}),
  });

  const open = (spec: EncoderSpec) => addon.openEncoder({ ...spec, precision: 'fp32', device: models.device });
  const student = await open(models.student);
  const teacher = await open(models.teacher);
  try {
    const x = new Float32Array(steps * batch * student.dim);
    const y = new Float32Array(steps * batch * teacher.dim);
    let n = 0;
    for await (const { slot, count } of loader) {
      const pixels = slots[slot]!.subarray(0, count * 3 * size * size);
      x.set(await student.encode(pixels, count, size), n * student.dim);
      y.set(await teacher.encode(pixels, count, size, models.teacherSize), n * teacher.dim);
      n += count;
      loader.release(slot);
    }
    return { x: x.subarray(0, n * student.dim), y: y.subarray(0, n * teacher.dim), n, d: student.dim, dt: teacher.dim };
  } finally {
    await student.close();
    await teacher.close();
  }
}
