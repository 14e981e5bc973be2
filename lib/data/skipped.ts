import { appendFile, truncate } from 'node:fs/promises';

import { z } from 'zod';

import { KueaError, reason } from '../errors.js';
import { readIfThere } from '../regular-file.js';

const lineSchema = z.object({ index: z.int().nonnegative(), name: z.string(), reason: z.string() });

export type SkippedImage = z.output<typeof lineSchema>;

/** Of the list in bytes, at most; a line has some 200. */
const largestList = 1 << 28;

/** The undecodable images of a run, each listed once in `skipped.jsonl` as {index, name, reason}, also over epochs and resumes. */
export class SkippedImages {
  private readonly seen = new Set<number>();
  private fresh: SkippedImage[] = [];
  private writing: Promise<void> = Promise.resolve();

  private constructor(
    private readonly file: string | undefined,
    private readonly max: number,
  ) {}

  /** Counts, and writes nothing. */
  static inMemory(max: number): SkippedImages {
    return new SkippedImages(undefined, max);
  }

  /** Knows what an existing `file` lists. Throws KueaError `bad_skipped`. */
  static async open(file: string, max: number): Promise<SkippedImages> {
    const skipped = new SkippedImages(file, max);
    const bytes = (await readIfThere(file, largestList)) ?? Buffer.alloc(0);
    // A line that a crash cut short is taken off; its image is listed again when it is met.
    const whole = bytes.lastIndexOf('\n') + 1;
    if (whole < bytes.length) await truncate(file, whole);
    for (const [i, line] of bytes.toString('utf8', 0, whole).split('\n').entries()) {
      if (!line) continue;
      try {
        skipped.seen.add(lineSchema.parse(JSON.parse(line)).index);
      } catch (cause) {
        throw new KueaError(
          'bad_skipped',
          `expected {index, name, reason} in line ${i + 1} of ${file}, found something else (${reason(cause)}): remove the line`,
          { cause },
        );
      }
    }
    return skipped;
  }

  get count(): number {
    return this.seen.size;
  }

  /** Those added since it was last asked. */
  takeFresh(): SkippedImage[] {
    const { fresh } = this;
    this.fresh = [];
    return fresh;
  }

  /** Lists an image. Throws KueaError `too_many_skipped` when it is one more than the run puts up with. */
  async add(image: SkippedImage): Promise<void> {
    if (this.seen.has(image.index)) return;
    this.seen.add(image.index);
    this.fresh.push(image);
    const { file } = this;
    if (file) {
      this.writing = this.writing.then(() => appendFile(file, `${JSON.stringify(image)}\n`));
      await this.writing;
    }
    if (this.count > this.max) {
      const list = file ? `${file} lists them` : `the last is ${image.name}: ${image.reason}`;
      throw new KueaError(
        'too_many_skipped',
        `expected at most ${this.max} undecodable images, found ${this.count} (${list}): mend the data or raise --max-skipped`,
      );
    }
  }
}
