import { expect } from 'chai';

import { overlay } from '../../../lib/config/layers.js';

describe('what outweighs a recipe', () => {
  it('drops what says the same in another way', () => {
    expect(overlay({ epochs: 2, lr: 1 }, { steps: 10 })).to.deep.equal({ lr: 1, steps: 10 });
    expect(overlay({ steps: 10 }, { epochs: 2 })).to.deep.equal({ epochs: 2 });
    expect(overlay({ warmupRatio: 0.1 }, { warmupSteps: 5 })).to.deep.equal({ warmupSteps: 5 });
    expect(overlay({ warmupSteps: 5 }, { warmupRatio: 0.1 })).to.deep.equal({ warmupRatio: 0.1 });
    expect(overlay({ epochs: 2 }, { lr: 3 })).to.deep.equal({ epochs: 2, lr: 3 });
    // Both in one layer are a mistake, which is told later.
    expect(overlay({}, { steps: 1, epochs: 2 })).to.deep.equal({ steps: 1, epochs: 2 });
  });

  it('leaves one of the three open that cut a batch', () => {
    expect(overlay({ batchSize: 128, microBatch: 1 }, { gradAccum: 32 })).to.deep.equal({ batchSize: 128, gradAccum: 32 });
    expect(overlay({ batchSize: 128, microBatch: 1 }, { microBatch: 4 })).to.deep.equal({ batchSize: 128, microBatch: 4 });
    expect(overlay({ microBatch: 1, gradAccum: 32 }, { gradAccum: 8 })).to.deep.equal({ microBatch: 1, gradAccum: 8 });
    expect(overlay({ microBatch: 1, gradAccum: 32 }, { batchSize: 64 })).to.deep.equal({ microBatch: 1, batchSize: 64 });
    expect(overlay({ batchSize: 128, microBatch: 1 }, { microBatch: 2, gradAccum: 8 })).to.deep.equal({ microBatch: 2, gradAccum: 8 });
  });
});
