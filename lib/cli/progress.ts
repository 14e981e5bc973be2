import { formatDuration } from '../config/units.js';
import type { RunEvent, StepLine } from '../run/events.js';
import { barLine, Eta, lineWidth, shortDuration } from './bar.js';
import { type Output, output } from './output.js';

/** What every program's events have in common. */
type CommonEvent = Extract<RunEvent<unknown, StepLine>, { type: 'step' | 'tick' | 'phase' | 'warning' }>;
type StepEvent = Extract<CommonEvent, { type: 'step' }>;
type AnyEvent = { type: string } | CommonEvent;
type StepOf<Event> = Extract<Event, { type: 'step' }>;
type OwnOf<Event> = Exclude<Event, { type: CommonEvent['type'] }>;

/** What a program's events say to a person. */
export interface EventText<Event> {
  /** The losses, the most important first, and how fast it goes. */
  step(event: StepOf<Event>): { losses: string[]; rate: string };
  /** Of an event that not every program has; empty for what needs no line. */
  line(event: OwnOf<Event>): string;
}

export interface EventPrinter<Event> {
  print(event: Event): void;
  close(): void;
}

export const short = (value: number) => (value === 0 ? '0' : Math.abs(value) < 1e-3 ? value.toExponential(2) : value.toPrecision(4));

/** How a run ended. */
export function doneText({
  steps,
  interrupted,
  skipped,
  seconds,
}: {
  steps: number;
  interrupted: boolean;
  skipped: number;
  seconds: number;
}): string {
  if (interrupted && steps === 0) return `stopped before the first step, with nothing to save, after ${formatDuration(seconds)}`;
  const left = skipped > 0 ? `, ${skipped} undecodable images skipped` : '';
  return `${interrupted ? 'stopped and saved' : 'done'} after step ${steps} in ${formatDuration(seconds)}${left}`;
}

/** Every event but the ticks, which are for a bar: what they say is in the steps. */
function jsonPrinter<Event extends AnyEvent>(out: Output): EventPrinter<Event> {
  return {
    print: (event) => {
      if (event.type !== 'tick') out.json(event);
    },
    close: () => {},
  };
}

/** Plain lines, for logs. */
function linePrinter<Event extends AnyEvent>(text: EventText<Event>, out: Output): EventPrinter<Event> {
  return {
    print: (any) => {
      const event = any as CommonEvent;
      switch (event.type) {
        case 'step': {
          const { losses, rate } = text.step(event as StepOf<Event> & StepEvent);
          return out.line(`step ${event.step}/${event.steps}  ${losses.join('  ')}  lr ${short(event.lr)}  ${rate}`);
        }
        case 'warning':
          return out.note(`warning: ${event.message}`);
        case 'tick':
        case 'phase':
          return;
        default: {
          const said = text.line(any as OwnOf<Event>);
          if (said) out.line(said);
        }
      }
    },
    close: () => {},
  };
}

/** How often the bar is drawn at most. */
const drawMs = 50;

/** A bar below the lines, that moves with every update and says before the first what is being done. */
function barPrinter<Event extends AnyEvent>(text: EventText<Event>, out: Output): EventPrinter<Event> {
  const lines = linePrinter(text, out);
  const eta = new Eta();
  let fields: string[] = [];
  let at = { step: 0, steps: 0 };
  let drawnMs = 0;
  let timer: NodeJS.Timeout | undefined;
  const stopPhase = () => {
    clearInterval(timer);
    timer = undefined;
  };
  const beginPhase = (name: string) => {
    stopPhase();
    const began = performance.now();
    const draw = () => out.status(`${name} ... ${shortDuration((performance.now() - began) / 1000)}`.slice(0, lineWidth(out.columns)));
    draw();
    timer = setInterval(draw, 1000).unref();
  };
  const move = (step: number, steps: number) => {
    const now = performance.now();
    // A logged update is told twice.
    if (step !== at.step || steps !== at.steps) eta.mark(step, now);
    at = { step, steps };
    const atRest = timer !== undefined;
    stopPhase();
    if (!atRest && now - drawnMs < drawMs && step < steps) return;
    drawnMs = now;
    out.status(barLine({ step, steps, remaining: eta.remaining(steps), fields }, out.columns));
  };
  return {
    print: (any) => {
      const event = any as CommonEvent;
      switch (event.type) {
        case 'step': {
          const { losses, rate } = text.step(event as StepOf<Event> & StepEvent);
          fields = [losses[0]!, rate, ...losses.slice(1)];
          return move(event.step, event.steps);
        }
        case 'tick':
          return move(event.step, event.steps);
        case 'phase':
          return beginPhase(event.name);
        default:
          lines.print(any);
      }
    },
    close: () => {
      stopPhase();
      out.status('');
    },
  };
}

/** JSON lines on request, a progress bar on a terminal, plain lines elsewhere. */
export function eventPrinter<Event extends AnyEvent>(json: boolean, text: EventText<Event>, out: Output = output): EventPrinter<Event> {
  const printer: EventPrinter<Event> = json ? jsonPrinter(out) : out.isTerminal ? barPrinter(text, out) : linePrinter(text, out);
  let told = false;
  return {
    ...printer,
    print: (event) => {
      printer.print(event);
      if (out.lost === null || told) return;
      told = true;
      out.note(`stdout has gone (${out.lost}): the run goes on, and its metrics.jsonl has what is not printed`);
    },
  };
}
