import { type FileHandle, open, readFile } from 'node:fs/promises';

import { asWriteError, writeFileAtomically } from '../files/atomic.js';

/** A line of metrics.jsonl. */
export interface MetricsLine {
  /** Updates made, this one included. */
  step: number;
  epoch: number;
  lr: number;
  loss: number;
  kernel_loss: number;
  anchor_loss: number;
  cosine_to_original: number;
  gamma: number;
  c: number;
  sigma: number;
  images_per_second: number;
  /** How long the loop stood waiting for the batch, and how long decoding it took from first image to last. */
  decode_wait_ms: number;
  decode_ms: number;
  /** Of the step on the device. */
  seconds: number;
}

/** Appends lines to metrics.jsonl. */
export class MetricsFile<Line extends { step: number }> {
  private constructor(
    private readonly path: string,
    private readonly handle: FileHandle,
  ) {}

  /**
   * Opens the file for a run that has made `step` updates: lines of later steps (of a run that was killed after its checkpoint) are cut
   * off.
   */
  static async open<Line extends { step: number }>(path: string, step: number): Promise<MetricsFile<Line>> {
    const text = await readFile(path, 'utf8').catch(() => '');
    const kept = text.split('\n').filter((line) => {
      try {
        return (JSON.parse(line) as Line).step <= step;
      } catch {
        return false;
      }
    });
    const wanted = kept.map((line) => `${line}\n`).join('');
    if (wanted !== text) await writeFileAtomically(path, wanted);
    return new MetricsFile<Line>(path, await open(path, 'a'));
  }

  async write(line: Line): Promise<void> {
    await this.handle.appendFile(`${JSON.stringify(line)}\n`).catch((error: unknown) => {
      throw asWriteError(error, this.path);
    });
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}
