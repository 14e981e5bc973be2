import { SingleBar } from 'cli-progress';

/** A program's events: steps among others. */
type AnyEvent = { type: string } | StepEvent;
interface StepEvent {
  type: 'step';
  step: number;
  steps: number;
  lr: number;
}
type StepOf<Event> = Extract<Event, { type: 'step' }>;

/** What a program's events say to a person. */
export interface EventText<Event> {
  step(event: StepOf<Event>): { losses: string; rate: string };
  /** Of an event that is no step; empty for what needs no line. */
  line(event: Exclude<Event, StepOf<Event>>): string;
}

export interface EventPrinter<Event> {
  print(event: Event): void;
  close(): void;
}

export const short = (value: number) => (value === 0 ? '0' : Math.abs(value) < 1e-3 ? value.toExponential(2) : value.toPrecision(4));

const isStep = <Event extends AnyEvent>(event: Event): event is Event & StepOf<Event> & StepEvent => event.type === 'step';

function jsonPrinter<Event>(): EventPrinter<Event> {
  return { print: (event) => console.log(JSON.stringify(event)), close: () => {} };
}

/** Plain lines, for logs. */
function linePrinter<Event extends AnyEvent>(text: EventText<Event>): EventPrinter<Event> {
  const stepLine = (event: StepOf<Event> & StepEvent) => {
    const { losses, rate } = text.step(event);
    return `step ${event.step}/${event.steps}  ${losses}  lr ${short(event.lr)}  ${rate}`;
  };
  return {
    print: (event) => {
      const said = isStep(event) ? stepLine(event) : text.line(event as Exclude<Event, StepOf<Event>>);
      if (said) console.log(said);
    },
    close: () => {},
  };
}

/** A bar that stays at the bottom, with lines above it. */
function barPrinter<Event extends AnyEvent>(text: EventText<Event>): EventPrinter<Event> {
  const bar = new SingleBar({
    format: '{bar} {value}/{total}  {rate}  ETA {eta_formatted}  {losses}',
    hideCursor: true,
    clearOnComplete: false,
    etaBuffer: 50,
  });
  let running = false;
  const stop = () => {
    if (running) bar.stop();
    running = false;
  };
  return {
    print: (event) => {
      if (isStep(event)) {
        const payload = text.step(event);
        if (!running) bar.start(event.steps, event.step, payload);
        running = true;
        bar.update(event.step, payload);
        return;
      }
      const said = text.line(event as Exclude<Event, StepOf<Event>>);
      if (!said) return;
      stop();
      console.log(said);
    },
    close: stop,
  };
}

/** JSON lines on request, a progress bar on a terminal, plain lines elsewhere. */
export function eventPrinter<Event extends AnyEvent>(json: boolean, text: EventText<Event>): EventPrinter<Event> {
  if (json) return jsonPrinter();
  return process.stdout.isTTY ? barPrinter(text) : linePrinter(text);
}
