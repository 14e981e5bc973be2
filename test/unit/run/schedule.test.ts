import { expect } from 'chai';

import { learningRate, planWarmup, type Schedule } from '../../../lib/run/schedule.js';

describe('the learning rate', () => {
  const rates = (schedule: Omit<Schedule, 'lr'>, steps: number, lr = 1) =>
    Array.from({ length: steps }, (_, step) => learningRate({ lr, ...schedule }, step, steps));

  it('begins as open_clip does, as transformers does, or as the published code does', () => {
    const constant = { scheduler: 'constant', warmup: 4 } as const;
    expect(rates({ ...constant, first: 'step' }, 6)).to.deep.equal([0.25, 0.5, 0.75, 1, 1, 1]);
    expect(rates({ ...constant, first: 'zero' }, 6)).to.deep.equal([0, 0.25, 0.5, 0.75, 1, 1]);
    expect(rates({ ...constant, first: 'peak' }, 6)).to.deep.equal([1, 0.5, 0.75, 1, 1, 1]);
  });

  it('is that of a published log: 2.8205e-6 after 22 updates of 5198 at 2e-5', () => {
    const { warmup } = planWarmup({ warmupRatio: 0.03 }, 5198);
    expect(learningRate({ lr: 2e-5, warmup, scheduler: 'cosine', first: 'zero' }, 22, 5198)).to.be.closeTo(2.8205e-6, 5e-11);
  });

  it("is that of transformers' get_cosine_schedule_with_warmup", () => {
    // transformers 5.18, 10 updates of which 3 warm up, lr 1.
    const expected = [
      0,
      1 / 3,
      2 / 3,
      1,
      0.9504844339512095,
      0.8117449009293668,
      0.6112604669781572,
      0.38873953302184283,
      0.18825509907063326,
      0.04951556604879048,
    ];
    rates({ warmup: 3, scheduler: 'cosine', first: 'zero' }, 10).forEach((rate, step) =>
      expect(rate).to.be.closeTo(expected[step]!, 1e-15),
    );
  });

  it('is constant without a warm-up', () => {
    expect(rates({ warmup: 0, scheduler: 'constant', first: 'zero' }, 3, 2e-5)).to.deep.equal([2e-5, 2e-5, 2e-5]);
  });
});

describe('the warm-up', () => {
  it('is in updates or a part of them, rounded up', () => {
    expect(planWarmup({ warmupSteps: 1400 }, 20_018)).to.deep.equal({ warmup: 1400 });
    expect(planWarmup({ warmupRatio: 0.03 }, 5198)).to.deep.equal({ warmup: 156 });
    expect(planWarmup({}, 3)).to.deep.equal({ warmup: 0 });
  });

  it('that would not end before the run is cut to a tenth of it, with a warning', () => {
    // The recipe vit-b-16 on 1000 images: two epochs of 7 updates.
    const { warmup, warning } = planWarmup({ warmupSteps: 1400 }, 14);
    expect(warmup).to.equal(1);
    expect(warning).to.match(/^the warm-up of 1400 updates is cut to 1, since the run has 14 in all/);
    expect(planWarmup({ warmupSteps: 200 }, 200).warmup).to.equal(20);
    expect(planWarmup({ warmupSteps: 199 }, 200)).to.deep.equal({ warmup: 199 });
    expect(planWarmup({ warmupRatio: 0.03 }, 1).warmup).to.equal(0);
  });

  it('is refused with a run of no updates', () => {
    expect(() => planWarmup({ warmupSteps: 0 }, 0))
      .to.throw(/expected at least one update, found 0/)
      .with.property('code', 'bad_option');
  });
});
