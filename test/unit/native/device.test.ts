import { expect } from 'chai';

import { resolveAlignConfig } from '../../../lib/align/options.js';
import { resolveDevice } from '../../../lib/native/device.js';

describe('the device of a process', () => {
  const none = { cudaBuilt: null, cudaDevices: 0 };
  const two = { cudaBuilt: '13', cudaDevices: 2 };

  it('is the CPU anywhere', () => expect(resolveDevice('cpu', none, 3)).to.equal('cpu'));

  it('is the GPU that is named, or the one with the number of the process', () => {
    expect(resolveDevice('cuda:1', two)).to.equal('cuda:1');
    expect(resolveDevice('cuda', two)).to.equal('cuda:0');
    expect(resolveDevice('cuda', two, 1)).to.equal('cuda:1');
  });

  it("is, when nobody says, the process's own GPU where there is one, and else the CPU", () => {
    expect(resolveDevice('auto', none, 3)).to.equal('cpu');
    expect(resolveDevice('auto', { cudaBuilt: '13', cudaDevices: 0 })).to.equal('cpu');
    expect(resolveDevice('auto', two, 1)).to.equal('cuda:1');
    expect(resolveAlignConfig({ student: 's', teacher: 't', data: 'd', out: 'o' }).device).to.equal('auto');
    // Not some ranks on GPUs and others on the CPU.
    expect(() => resolveDevice('auto', two, 2)).to.throw(/at most one process a GPU.*or use device cpu/);
  });

  it('says what is missing, and what to do', () => {
    const refused = (...args: Parameters<typeof resolveDevice>) => {
      try {
        return resolveDevice(...args);
      } catch (error) {
        return error as Error;
      }
    };
    expect(refused('cuda', none)).to.have.property('code', 'no_device');
    expect(refused('cuda', none))
      .to.have.property('message')
      .match(/found a build for the CPU alone: run "npm run build:native -- --cuda"/);
    expect(refused('cuda:0', { cudaBuilt: '13', cudaDevices: 0 }))
      .to.have.property('message')
      .match(/found no device visible: .*CUDA_VISIBLE_DEVICES/);
    expect(refused('cuda:2', two))
      .to.have.property('message')
      .match(/found 2 visible, and this process wants number 2/);
    expect(refused('cuda', two, 2))
      .to.have.property('message')
      .match(/at most one process a GPU/);
  });
});
