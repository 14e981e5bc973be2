import { resolve } from 'node:path';

import { expect } from 'chai';
import { parse } from 'yaml';

import { freeAlignKeys, parseSavedAlign, resolveAlignConfig } from '../../../lib/align/options.js';
import { camelCase } from '../../../lib/config/keys.js';
import { differingOptions } from '../../../lib/config/saved.js';
import { freeLoraKeys, parseSavedLora, resolveLoraConfig } from '../../../lib/lora/options.js';

// config.yaml as kuea 0.1.0 wrote it, with the options of 0.1.0 alone.
const alignOf01 = `
student: clip
teacher: dinov2
teacher_statistics: clip
data: photos/
fraction: 1
shuffle: true
resample: exact
max_skipped: 100
w: 0.5
kernel: polynomial
gamma: 0.0032
coef0: 0.191623
sigma: 8.7
sigma_teacher: 15.8
kernel_params: trainable
fit_kernel: false
fit_images: 256
loss_backend: fused
epochs: 4
batch_size: 8
lr: 0.0001
weight_decay: 0.0001
beta1: 0.9
beta2: 0.999
eps: 1.0e-8
warmup_steps: 0
scheduler: cosine
protocol: default
precision: fp32
activation_checkpointing: false
out: runs/a
seed: 0
resume: false
device: cpu
log_every: 10
save_every: 200
keep_checkpoints: 2
export_layouts:
  - hf
dry_run: false
`;
const loraOf01 = `
model: llava
missing: error
data: talk.json
verify_images: false
max_length: 2048
pack: false
group_by_modality_length: true
shuffle: true
val_fraction: 0
max_skipped: 100
any_base: false
dropout: 0.05
freeze_projector: false
epochs: 1
batch_size: 2
grad_accum: 16
loss_normalisation: sample
lr: 0.0002
projector_lr: 0.00002
scheduler: SCHEDULER
warmup_ratio: 0.03
weight_decay: 0
beta1: 0.9
beta2: 0.999
eps: 1.0e-8
max_grad_norm: 0
precision: bf16
gradient_checkpointing: true
offload: false
out: runs/l
seed: 42
resume: false
device: cpu
log_every: 1
save_every: 200
keep_checkpoints: 2
dry_run: false
`;
const read = (text: string) =>
  Object.fromEntries(Object.entries(parse(text) as Record<string, unknown>).map(([key, value]) => [camelCase(key), value]));

describe("a run's config.yaml of kuea 0.1", () => {
  it('is that of the same kuea-align now', () => {
    const saved = parseSavedAlign(read(alignOf01));
    const same = { student: 'clip', teacher: 'dinov2', data: resolve('photos'), out: 'runs/a', epochs: 4, batchSize: 8, lr: 1e-4 };
    expect(differingOptions(saved, resolveAlignConfig({ ...same, resume: true, device: 'auto' }), freeAlignKeys)).to.deep.equal([]);
    expect(differingOptions(saved, resolveAlignConfig({ ...same, w: 3, data: 'others' }), freeAlignKeys)).to.deep.equal([
      'data ("photos/" then, "others" now)',
      'w (0.5 then, 3 now)',
    ]);
    expect(differingOptions(saved, resolveAlignConfig({ ...same, maxGradNorm: 1 }), freeAlignKeys)).to.deep.equal([
      'maxGradNorm (0 then, 1 now)',
    ]);
  });

  it('is that of the same kuea-lora now: its batch_size was a micro-batch, its constant did not warm up', () => {
    const same = { model: 'llava', data: 'talk.json', out: 'runs/l', epochs: 1, microBatch: 2, gradAccum: 16 };
    const differing = (scheduler: string, options: Record<string, unknown>) =>
      differingOptions(
        parseSavedLora(read(loraOf01.replace('SCHEDULER', scheduler))),
        resolveLoraConfig({ ...same, scheduler, ...options }),
        freeLoraKeys,
      );
    expect(differing('cosine', {})).to.deep.equal([]);
    expect(differing('constant', {})).to.deep.equal([]);
    expect(differing('constant', { warmupRatio: 0.03 })).to.deep.equal(['warmupRatio (0 then, 0.03 now)']);
    expect(differing('cosine', { microBatch: 1 })).to.deep.equal(['microBatch (2 then, 1 now)']);
    expect(differing('cosine', { activationCheckpointing: false })).to.deep.equal(['activationCheckpointing (true then, false now)']);
  });

  it('of a version of which something is not known is refused', () => {
    expect(() => parseSavedAlign({ ...read(alignOf01), telepathy: true }))
      .to.throw(/of another version or was changed: unknown option telepathy/)
      .with.property('code', 'bad_config');
  });
});
