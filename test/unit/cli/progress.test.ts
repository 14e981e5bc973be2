import { expect } from 'chai';

import type { AlignEvent } from '../../../lib/align/events.js';
import { alignText } from '../../../lib/cli/align-progress.js';
import { loraText } from '../../../lib/cli/lora-progress.js';
import { Output } from '../../../lib/cli/output.js';
import { eventPrinter } from '../../../lib/cli/progress.js';
import type { LoraEvent } from '../../../lib/lora/events.js';
import { Paper, Screen } from './support.js';

const alignStep = (step: number) =>
  ({
    type: 'step',
    step,
    steps: 20,
    lr: 1e-5,
    loss: 0.5,
    kernel_loss: 0.25,
    anchor_loss: 0.125,
    cosine_to_original: 0.99,
    images_per_second: 12.25,
  }) as AlignEvent;
const loraStep = (step: number) =>
  ({ type: 'step', step, steps: 20, lr: 1e-5, loss: 0.5, grad_norm: 2, samples_per_second: 3, tokens_per_second: 400 }) as LoraEvent;
const done = (steps: number, interrupted: boolean) => ({ type: 'done', steps, interrupted, skipped: 0, seconds: 3 }) as const;

describe('the progress of a run', () => {
  for (const columns of [80, 40]) {
    it(`is a bar on a terminal of ${columns} columns, that moves with every update and says before the first what is done`, () => {
      const screen = new Screen(columns);
      const printer = eventPrinter<AlignEvent>(false, alignText, new Output(screen, screen));
      printer.print({ type: 'phase', name: 'opening models' });
      expect(screen.last).to.equal('opening models ... 0s');
      printer.print({ type: 'tick', step: 1, steps: 20 });
      expect(screen.last).to.match(/^█░+ {2}1\/20$/);
      printer.print(alignStep(1));
      printer.print({ type: 'phase', name: 'validating' });
      expect(screen.last).to.equal('validating ... 0s');
      printer.print({ type: 'tick', step: 20, steps: 20 });
      expect(screen.last).to.match(/^█+ {2}20\/20 {2}ETA 0s {2}loss 0\.5000/);
      expect(screen.last.length).to.be.below(columns - 2);
      printer.print(done(20, false));
      expect(screen.lines.at(-2)).to.equal('done after step 20 in 3 s');
      printer.close();
      expect(screen.lines).to.deep.equal(['done after step 20 in 3 s', '']);
    });
  }

  it('of a fine-tuning has its loss and its time left, too', () => {
    const screen = new Screen(80);
    const printer = eventPrinter<LoraEvent>(false, loraText, new Output(screen, screen));
    printer.print({ type: 'tick', step: 1, steps: 20 });
    printer.print(loraStep(1));
    printer.print({ type: 'tick', step: 20, steps: 20 });
    expect(screen.last).to.match(/20\/20 {2}ETA 0s {2}loss 0\.5000 {2}3\.000 samples\/s/);
    printer.close();
  });

  it('is lines elsewhere, and JSON on request; ticks are for a bar', () => {
    const [out, err, json] = [new Paper(), new Paper(), new Paper()];
    const lines = eventPrinter<AlignEvent>(false, alignText, new Output(out, err));
    const jsons = eventPrinter<AlignEvent>(true, alignText, new Output(json, json));
    const events: AlignEvent[] = [
      { type: 'warning', message: 'an old name' },
      { type: 'phase', name: 'opening models' },
      { type: 'tick', step: 1, steps: 20 },
      alignStep(1),
      done(1, true),
    ];
    for (const event of events) {
      lines.print(event);
      jsons.print(event);
    }
    expect(out.text).to.equal(
      'step 1/20  loss 0.5000  kernel 0.2500  anchor 0.1250  cos 0.9900  lr 1.00e-5  12.3 img/s\nstopped and saved after step 1 in 3 s\n',
    );
    expect(err.text).to.equal('warning: an old name\n');
    const types = json.text
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as AlignEvent).type);
    expect(types).to.deep.equal(['warning', 'phase', 'step', 'done']);
  });

  it('says that something was saved only when something was', () => {
    const text = alignText.line(done(0, true));
    expect(text).to.match(/^stopped before the first step, with nothing to save/);
    expect(alignText.line(done(3, true))).to.equal('stopped and saved after step 3 in 3 s');
  });

  it('goes on when its stream has gone, and says so once', () => {
    const [out, err] = [new Paper(), new Paper()];
    const output = new Output(out, err);
    const printer = eventPrinter<AlignEvent>(false, alignText, output);
    printer.print(alignStep(1));
    output.lost = 'EPIPE';
    printer.print(alignStep(2));
    printer.print(alignStep(3));
    expect(out.text.trim().split('\n')).to.have.length(1);
    expect(err.text).to.equal('stdout has gone (EPIPE): the run goes on, and its metrics.jsonl has what is not printed\n');
  });
});
