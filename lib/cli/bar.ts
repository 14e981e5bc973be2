/** How far a run is. */
export interface Progress {
  step: number;
  steps: number;
  /** Until the end, seconds; null while it is not known. */
  remaining: number | null;
  /** What else there is to say, the most important first: the loss. */
  fields: readonly string[];
}

const longestBar = 30;
/** With further fields beside it, and with the essential ones alone. */
const roomyBar = 12;
const shortestBar = 4;
const gap = '  ';

/** 45s, 3m05s, 2h10m, 4d03h: short, for a bar. */
export function shortDuration(seconds: number): string {
  const two = (n: number) => String(n).padStart(2, '0');
  const s = Math.round(seconds);
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m${two(s % 60)}s`;
  const minutes = Math.floor(s / 60);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)}h${two(minutes % 60)}m`;
  const hours = Math.floor(minutes / 60);
  return `${Math.floor(hours / 24)}d${two(hours % 24)}h`;
}

/** What fits a terminal's line together with the ^C that it may print there. */
export const lineWidth = (columns: number) => columns - 3;

/**
 * A bar that no terminal has to break: steps, time left, loss, and further fields as far as they fit whole. Where there is no room for
 * both, the bar itself gives way before the loss.
 */
export function barLine({ step, steps, remaining, fields }: Progress, columns: number): string {
  const width = lineWidth(columns);
  const parts = [`${step}/${steps}`, ...(remaining === null ? [] : [`ETA ${shortDuration(remaining)}`]), ...fields];
  const essential = parts.length - Math.max(0, fields.length - 1);
  const text = (count: number) => parts.slice(0, count).join(gap);
  const room = (count: number) => width - text(count).length - gap.length;
  let count = parts.length;
  while (count > essential && room(count) < roomyBar) count -= 1;
  if (room(count) < shortestBar) {
    while (count > 1 && text(count).length > width) count -= 1;
    return text(count).slice(0, width);
  }
  const length = Math.min(longestBar, room(count));
  const full = Math.floor((length * step) / steps);
  return `${'█'.repeat(full)}${'░'.repeat(length - full)}${gap}${text(count)}`;
}

/** Steps that the speed is taken from. */
const remembered = 50;

/** Guesses from the last steps how long the rest will take. */
export class Eta {
  private readonly marks: { step: number; ms: number }[] = [];

  /** Step `step` was made at `ms`, a clock's milliseconds. */
  mark(step: number, ms: number): void {
    this.marks.push({ step, ms });
    if (this.marks.length > remembered) this.marks.shift();
  }

  /** Seconds from the last mark to the end; null before there are two. */
  remaining(steps: number): number | null {
    const [first, last] = [this.marks[0], this.marks.at(-1)];
    if (!first || !last || last.step === first.step) return null;
    return (((last.ms - first.ms) / (last.step - first.step)) * (steps - last.step)) / 1000;
  }
}
