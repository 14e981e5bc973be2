import { SingleBar } from 'cli-progress';

import type { AlignEvent } from '../train/events.js';
import { formatDuration } from '../train/plan.js';

export interface EventPrinter {
  print(event: AlignEvent): void;
  close(): void;
}

const short = (value: number) => (value === 0 ? '0' : Math.abs(value) < 1e-3 ? value.toExponential(2) : value.toPrecision(4));

type Step = Extract<AlignEvent, { type: 'step' }>;

const losses = (e: Step) => `loss ${short(e.loss)}  kernel ${short(e.kernel_loss)}  anchor ${short(e.anchor_loss)}  cos ${e.cosine_to_original.toFixed(4)}`;

/** What an event that is no step says to a person; empty for what needs no line. */
function line(event: Exclude<AlignEvent, Step>): string {
  switch (event.type) {
    case 'start': {
      const { plan } = event;
      return `${plan.images.toLocaleString('en-US')} images, ${plan.steps.toLocaleString('en-US')} steps of ${plan.config.batchSize}${plan.ranks > 1 ? ` on ${plan.ranks} ranks` : ''}; ${(plan.studentParameters / 1e6).toFixed(1)} M parameters in training`;
    }
    case 'fit':
      return `kernel fitted on ${event.images} images: rho = c / gamma = ${short(event.c / event.gamma)}, sigma ${short(event.sigma)}; kernel loss ${short(event.before)} -> ${short(event.after)}`;
    case 'cache': {
      const share = event.present === event.images ? 'complete' : `${event.present} of ${event.images} images, the rest is filled on the way`;
      return `frozen embeddings: ${event.rebuilt ? `made anew, because ${event.rebuilt}` : share}`;
    }
    case 'resume':
      return `resumed after step ${event.step}`;
    case 'checkpoint':
      return '';
    case 'export':
      return `exported ${event.layout}: ${event.path}`;
    case 'done': {
      const skipped = event.skipped > 0 ? `, ${event.skipped} undecodable images skipped` : '';
      return `${event.interrupted ? 'stopped and saved' : 'done'} after step ${event.steps} in ${formatDuration(event.seconds)}${skipped}`;
    }
  }
}

function jsonPrinter(): EventPrinter {
  return { print: (event) => console.log(JSON.stringify(event)), close: () => {} };
}

/** Plain lines, for logs. */
function linePrinter(): EventPrinter {
  return {
    print: (event) => {
      const text = event.type === 'step' ? `step ${event.step}/${event.steps}  ${losses(event)}  lr ${short(event.lr)}  ${event.images_per_second.toFixed(1)} img/s` : line(event);
      if (text) console.log(text);
    },
    close: () => {},
  };
}

/** A bar that stays at the bottom, with lines above it. */
function barPrinter(): EventPrinter {
  const bar = new SingleBar({ format: '{bar} {value}/{total}  {rate} img/s  ETA {eta_formatted}  {losses}', hideCursor: true, clearOnComplete: false, etaBuffer: 50 });
  let running = false;
  const stop = () => {
    if (running) bar.stop();
    running = false;
  };
  return {
    print: (event) => {
      if (event.type === 'step') {
        const payload = { rate: event.images_per_second.toFixed(1), losses: losses(event) };
        if (!running) bar.start(event.steps, event.step, payload);
        running = true;
        bar.update(event.step, payload);
        return;
      }
      const text = line(event);
      if (!text) return;
      stop();
      console.log(text);
    },
    close: stop,
  };
}

/** JSON lines on request, a progress bar on a terminal, plain lines elsewhere. */
export function eventPrinter(json: boolean): EventPrinter {
  if (json) return jsonPrinter();
  return process.stdout.isTTY ? barPrinter() : linePrinter();
}
