import { z } from 'zod';

import { KueaError } from '../errors.js';
import { option, parseOptions, type Telling } from './options.js';

const count = z.int().positive();

/**
 * Options of every program that trains with several ranks: who starts them and how long they wait for each other. They change nothing that
 * is computed.
 */
export const distributedSchema = z.strictObject({
  nproc: option('Distributed', 'ranks to start on this machine: one a GPU, or several that share the cores', count.optional(), {
    everyday: 'processes to train with on this machine',
  }),
  nnodes: option('Distributed', 'machines that take part, each started with the same line but for --node-rank', count.default(1)),
  nodeRank: option('Distributed', 'which of them this one is, from 0', z.int().nonnegative().default(0)),
  masterAddr: option('Distributed', 'address of machine 0, as the others reach it', z.string().min(1).optional()),
  masterPort: option('Distributed', 'port there (default: 29500; on one machine a free one)', z.int().min(1).max(65535).optional()),
  watchdog: option(
    'Distributed',
    'seconds without a sign of life after which a rank counts as lost and the job ends',
    z.int().min(3).default(15),
  ),
  joinTimeout: option('Distributed', 'seconds to wait for all ranks to arrive', count.default(300)),
});

export type DistributedConfig = z.output<typeof distributedSchema>;
export type DistributedKey = keyof DistributedConfig;

export const distributedKeys = Object.keys(distributedSchema.shape) as DistributedKey[];

/** Checks the options of `distributedSchema`. Throws KueaError `bad_option`. */
export function resolveDistributed(options: Record<string, unknown>, telling: Telling = {}): DistributedConfig {
  const config = parseOptions(distributedSchema, options, telling);
  const { name = (key: string) => key } = telling;
  const { nproc, nnodes, nodeRank, masterAddr } = config;
  const refuse = (why: string) => {
    throw new KueaError('bad_option', why);
  };
  if (nproc === undefined && nnodes > 1) refuse(`expected ${name('nproc')}, the ranks of each of the ${nnodes} machines, found none`);
  if (nodeRank >= nnodes) refuse(`expected a ${name('nodeRank')} below ${name('nnodes')} (${nnodes}), found ${nodeRank}`);
  if (nnodes > 1 && masterAddr === undefined)
    refuse(`expected ${name('masterAddr')}, the address of machine 0, for ${nnodes} machines, found none`);
  return config;
}
