import { type FileHandle, open, readFile } from 'node:fs/promises';

import { asWriteError, writeFileAtomically } from '../files/atomic.js';

/** A line of metrics.jsonl, of whichever kind. */
type Line = { step: number };

/** Appends lines to metrics.jsonl. */
export class MetricsFile {
  private constructor(
    private readonly path: string,
    private readonly handle: FileHandle,
  ) {}

  /**
   * Opens the file for a run that has made `step` updates: lines of later steps (of a run that was killed after its checkpoint) are cut
   * off.
   */
  static async open(path: string, step: number): Promise<MetricsFile> {
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
    return new MetricsFile(path, await open(path, 'a'));
  }

  /** Appends a line, with the `time` it is written at (ISO 8601, UTC). */
  async write(line: Line): Promise<void> {
    await this.handle.appendFile(`${JSON.stringify({ ...line, time: new Date().toISOString() })}\n`).catch((error: unknown) => {
      throw asWriteError(error, this.path);
    });
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}
