import type { Sink } from '../../../lib/cli/output.js';

const wipe = '\r\x1b[2K';

/** A terminal's screen as far as our output uses it: lines, and the wiping of the last. */
export class Screen implements Sink {
  readonly isTTY = true;
  lines = [''];

  constructor(public columns: number) {}

  write(text: string): void {
    for (const part of text.replaceAll(wipe, `\0${wipe}\0`).replaceAll('\n', '\0\n\0').split('\0')) {
      if (part === '\n') this.lines.push('');
      else if (part === wipe) this.lines[this.lines.length - 1] = '';
      else this.lines[this.lines.length - 1] += part;
    }
  }

  get last(): string {
    return this.lines.at(-1)!;
  }
}

/** A pipe or a file. */
export class Paper implements Sink {
  text = '';
  write(text: string): void {
    this.text += text;
  }
}
