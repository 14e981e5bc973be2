import { z } from 'zod';

import { deviceOption, option } from '../config/options.js';

const natural = z.int().nonnegative();
const count = z.int().positive();
const text = z.string().min(1);

/** Options of every program that reads images. */
export const imageOptions = {
  maxSkipped: option('Data', 'undecodable images to skip before giving up', natural.default(100)),
  workers: option('Data', 'images decoded at a time (default: what the cores can use)', count.optional()),
};

/** AdamW's, of every program that trains. */
export const adamOptions = {
  beta1: option('Optimisation', "AdamW's beta1", z.number().min(0).lt(1).default(0.9)),
  beta2: option('Optimisation', "AdamW's beta2", z.number().min(0).lt(1).default(0.999)),
  eps: option('Optimisation', "AdamW's epsilon", z.number().positive().default(1e-8)),
};

export const schedulerOption = option('Optimisation', 'learning rate after the warm-up', z.enum(['cosine', 'constant']).default('cosine'));

/** Options of every run that trains. */
export const runOptions = {
  out: option('Run', 'folder of the run', text, { everyday: true }),
  resume: option('Run', 'go on from the newest checkpoint of the run', z.boolean().default(false), { everyday: true }),
  extend: option('Run', 'lengthen a finished run to the --steps or --epochs that are given now', z.boolean().default(false), {
    everyday: 'lengthen a finished run to --steps or --epochs',
  }),
  device: deviceOption,
  threads: option('Run', 'threads of the computation (default: all cores)', count.optional()),
  saveEvery: option('Run', 'updates between two checkpoints; 0 saves at the end alone', natural.default(200)),
  keepCheckpoints: option('Run', 'checkpoints to keep', count.default(2)),
};

/** Options of a run that is measured while it trains. */
export const evaluationOptions = {
  eval: option(
    'Run',
    'suite to measure the student by while it is trained: quick, paper, or a YAML as kuea-eval compare takes it',
    text.optional(),
    {
      everyday: 'suite to measure the student by while it is trained',
    },
  ),
  evalEvery: option('Run', 'updates between two measurements; 0 measures before the first and after the last alone', natural.default(0)),
  best: option('Run', 'metric of the suite, such as zero_shot_acc1, whose best checkpoint is kept', text.optional()),
};

/** Options that any resumed run may change: they do not change what is computed. */
export const freeRunKeys = [
  'out',
  'resume',
  'extend',
  'device',
  'threads',
  'workers',
  'logEvery',
  'saveEvery',
  'keepCheckpoints',
  'maxSkipped',
  'dryRun',
] as const;
