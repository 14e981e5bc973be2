import { printable, printableJson, printableLines } from '../text/printable.js';

/** What of a stream is written to; a terminal has columns. */
export interface Sink {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

const clearLine = '\r\x1b[2K';

/**
 * The one place where a program prints: lines on stdout, notes on stderr, and on a terminal a line below them that is drawn again and
 * again. What comes from files is escaped here. Once stdout has gone (`| head`, a full disk, a lost terminal) nothing more is written
 * there, and the program goes on.
 */
export class Output {
  /** Why stdout takes no more: EPIPE, ENOSPC, EIO. */
  lost: string | null = null;
  private drawn = '';

  constructor(
    private readonly out: Sink,
    private readonly err: Sink,
  ) {}

  get isTerminal(): boolean {
    return this.out.isTTY === true;
  }

  /** Of the terminal. */
  get columns(): number {
    return this.out.columns ?? 80;
  }

  line(text: string): void {
    this.above(() => this.put(`${printable(text)}\n`));
  }

  /** Several lines that belong together. */
  block(text: string): void {
    this.above(() => this.put(`${printableLines(text)}\n`));
  }

  json(value: unknown): void {
    this.put(`${printableJson(value)}\n`);
  }

  /** A part of a line, such as a word of an answer. */
  piece(text: string): void {
    this.put(printableLines(text));
  }

  /** A line on stderr. */
  note(text: string): void {
    this.above(() => this.err.write(`${printable(text)}\n`));
  }

  /** The line that is drawn again and again, of a terminal alone; '' takes it away. */
  status(text: string): void {
    if (!this.isTerminal || text === this.drawn) return;
    this.put(clearLine + printable(text));
    this.drawn = text;
  }

  private above(print: () => void): void {
    const { drawn } = this;
    // Whatever stands there, a terminal's ^C too, is wiped before the line.
    if (drawn !== '') this.put(clearLine);
    print();
    if (drawn !== '') this.put(printable(drawn));
  }

  private put(text: string): void {
    if (this.lost === null) this.out.write(text);
  }
}

/** This process's. */
export const output = new Output(process.stdout, process.stderr);

/**
 * Keeps a stream that has gone from ending the process, which would be in the middle of its work. A program that has set no exit code of
 * its own by its end, as a run has that was saved, ends with 1 when what it printed did not arrive, but for a reader that had enough.
 */
export function surviveLostStreams(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (output.lost !== null) return;
    output.lost = error.code ?? error.message;
    if (output.lost === 'EPIPE') return;
    process.once('exit', () => {
      if (process.exitCode !== undefined) return;
      output.note(`cannot write to stdout (${output.lost})`);
      process.exitCode = 1;
    });
  });
  // Nobody is left to be told.
  process.stderr.on('error', () => {});
}
