import { stat } from 'node:fs/promises';

import { KueaError, shown } from '../errors.js';
import type { Arch } from '../native/addon.js';
import { type OpenWeightsOptions, openWeights } from './open.js';
import { readConfigs } from './read-configs.js';
import { kinds, namesFor } from './registry.js';

/**
 * The shape of a vision encoder for a plan, without its weights: of one on this machine as openWeights has it (it reads no more than
 * headers), of one on the hub, or of a folder with configs alone, from config.json or open_clip_config.json. Throws KueaError `bad_config`
 * where there is neither, `wrong_family`, `unsupported_model`, and what openWeights and the hub throw.
 */
export async function readShape(ref: string, options: OpenWeightsOptions = {}): Promise<Arch> {
  if (await stat(ref).catch(() => null)) {
    try {
      return (await openWeights(ref, options)).arch;
    } catch (error) {
      if (!(error instanceof KueaError) || error.code !== 'weights_not_found') throw error;
    }
  }
  const { config, openClip } = await readConfigs(ref);
  if (!config && !openClip)
    throw new KueaError(
      'bad_config',
      `expected config.json or open_clip_config.json of ${ref}, found neither: a plan needs one of them, or the weights`,
    );
  for (const kind of kinds) {
    const arch = kind.shapeOfConfig(ref, config, openClip);
    if (!arch) continue;
    if (!options.role || kind.roles.includes(options.role)) return arch;
    throw new KueaError('wrong_family', `expected ${namesFor(options.role)} for the ${options.role}, found ${kind.name} in ${ref}`);
  }
  throw new KueaError(
    'wrong_family',
    `expected ${namesFor(options.role)} in ${ref}, found model_type ${shown(config?.['model_type'])} in its config.json`,
  );
}
