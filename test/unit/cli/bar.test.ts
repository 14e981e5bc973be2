import { expect } from 'chai';

import { barLine, Eta, lineWidth, shortDuration } from '../../../lib/cli/bar.js';

const progress = {
  step: 120,
  steps: 20_018,
  remaining: 11_405,
  fields: ['loss 0.1234', '105.3 img/s', 'kernel 0.05512', 'anchor 4.313e-02', 'cos 0.9999'],
};

describe('the bar', () => {
  it('fits any width down to 40 columns, with the steps, the time left and the loss whole', () => {
    for (let columns = 40; columns <= 200; columns++) {
      const line = barLine(progress, columns);
      expect(line.length, `${columns} columns`).to.be.at.most(lineWidth(columns));
      expect(line).to.match(/120\/20018 {2}ETA 3h10m {2}loss 0\.1234(?= {2}|$)/);
      // No field is cut.
      for (const part of line.split('  ').slice(-1)) expect([...progress.fields, '120/20018']).to.include(part);
    }
    expect(barLine(progress, 40)).to.equal('120/20018  ETA 3h10m  loss 0.1234');
    expect(barLine(progress, 80)).to.equal(`${'░'.repeat(13)}  120/20018  ETA 3h10m  loss 0.1234  105.3 img/s  kernel 0.05512`);
    expect(barLine(progress, 200)).to.match(/^░{30} .*cos 0\.9999$/);
  });

  it('is narrower still where there is nothing else to do', () => {
    for (let columns = 4; columns < 40; columns++) expect(barLine(progress, columns).length).to.be.at.most(lineWidth(columns));
  });

  it('fills from the left', () => {
    expect(barLine({ step: 0, steps: 4, remaining: null, fields: [] }, 20)).to.equal(`${'░'.repeat(12)}  0/4`);
    expect(barLine({ step: 1, steps: 4, remaining: null, fields: [] }, 20)).to.equal(`███${'░'.repeat(9)}  1/4`);
    expect(barLine({ step: 4, steps: 4, remaining: 0, fields: ['loss 1'] }, 60)).to.equal(`${'█'.repeat(30)}  4/4  ETA 0s  loss 1`);
  });

  it('guesses the time left from the last steps', () => {
    const eta = new Eta();
    expect(eta.remaining(100)).to.equal(null);
    eta.mark(1, 1000);
    expect(eta.remaining(100)).to.equal(null);
    eta.mark(2, 3000);
    expect(eta.remaining(100)).to.equal(196);
    // It got faster: after 50 more steps of a second the first are forgotten.
    for (let step = 3; step <= 53; step++) eta.mark(step, step * 1000);
    expect(eta.remaining(100)).to.equal(47);
  });

  it('tells times shortly', () => {
    expect([0, 59.4, 59.6, 3599, 3600, 86_399, 90_000].map(shortDuration)).to.deep.equal([
      '0s',
      '59s',
      '1m00s',
      '59m59s',
      '1h00m',
      '23h59m',
      '1d01h',
    ]);
  });
});
