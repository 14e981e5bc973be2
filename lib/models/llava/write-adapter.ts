import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { writeJson, writeWhole } from '../../files/output.js';
import { buildHeader, readSafetensors } from '../../files/safetensors.js';
import { toBytes } from '../../files/tensors.js';
import { writeTorchFile } from '../../files/torch-writer.js';
import type { NativeLoraTrainer, WriteStep } from '../../native/addon.js';
import { trainedOnMetadata } from './adapter.js';
import { originalConfig } from './export-config.js';
import { linears, prefixes, projectorPairs } from './keys.js';
import type { LlavaWeights } from './open.js';

/** What a trained adapter was made of. */
export interface AdapterInfo {
  llava: LlavaWeights;
  rank: number;
  alpha: number;
  dropout: number;
}

/** PEFT wraps the model twice, and transformers has had one layout of llava-hf's models in memory since 4.52, whatever their files have. */
const inMemory = ({ layout }: LlavaWeights) => prefixes[layout === 'original' ? 'original' : 'hf-new'].language;

/** adapter_config.json as peft writes it. The rule for its targets is anchored: "q_proj" alone would match the vision tower too. */
function adapterConfig({ llava, rank, alpha, dropout }: AdapterInfo): Record<string, unknown> {
  const modules = linears(llava.model.llama).map(({ name }) => name.replaceAll('.', '\\.'));
  return {
    alpha_pattern: {},
    auto_mapping: null,
    base_model_name_or_path: llava.ref,
    bias: 'none',
    exclude_modules: null,
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    layer_replication: null,
    layers_pattern: null,
    layers_to_transform: null,
    loftq_config: {},
    lora_alpha: alpha,
    lora_bias: false,
    lora_dropout: dropout,
    megatron_config: null,
    megatron_core: 'megatron.core',
    modules_to_save: null,
    peft_type: 'LORA',
    r: rank,
    rank_pattern: {},
    revision: null,
    target_modules: `${inMemory(llava).replaceAll('.', '\\.')}layers\\.\\d+\\.(${modules.join('|')})`,
    task_type: 'CAUSAL_LM',
    trainable_token_indices: null,
    use_dora: false,
    use_rslora: false,
  };
}

/**
 * Writes what a trainer has trained to the new folder `out`, fp32: adapter_config.json and adapter_model.safetensors, which peft loads on
 * the same base; the projector, trained or not, as LLaVA's loader wants it (non_lora_trainables.bin) and in safetensors; and config.json of
 * the LLaVA that they make. `out` is whole or absent. Throws KueaError `exists`, `disk_full`.
 */
export async function writeAdapter(
  trainer: Pick<NativeLoraTrainer, 'parameters' | 'write'>,
  out: string,
  info: AdapterInfo,
): Promise<void> {
  const { llava } = info;
  await writeWhole(out, async (folder) => {
    await mkdir(folder);
    const write = (file: string, entries: { name: string; shape: number[]; step: WriteStep }[], metadata: Record<string, string>) =>
      trainer.write(
        join(folder, file),
        buildHeader(
          entries.map(({ name, shape }) => ({ name, dtype: 'F32', shape })),
          metadata,
        ),
        entries.map(({ step }) => step),
      );
    const lora = trainer.parameters.filter(({ name }) => name.includes('.lora_'));
    const language = inMemory(llava);
    await write(
      'adapter_model.safetensors',
      lora.map(({ name, shape }) => ({
        name: `base_model.model.${language}${name.slice('model.'.length)}`,
        shape,
        step: { parameter: name },
      })),
      { format: 'pt', ...trainedOnMetadata(llava.trainedOn) },
    );
    await writeJson(folder, 'adapter_config.json', adapterConfig(info));

    const trained = new Set(trainer.parameters.map(({ name }) => name));
    const projector = projectorPairs(llava.model.vision.width, llava.model.llama.width, 'original').map(({ name, shape }) => {
      const frozen = llava.model.weights.find(({ parameter }) => parameter === name)!;
      return { name: `base_model.model.${name}`, shape, step: trained.has(name) ? { parameter: name } : { source: frozen.source } };
    });
    const file = 'non_lora_trainables.safetensors';
    await write(file, projector, { format: 'pt' });
    const { tensors } = await readSafetensors(join(folder, file));
    await writeTorchFile(
      join(folder, 'non_lora_trainables.bin'),
      projector.map(({ name }) => ({ name, source: toBytes(name, tensors.get(name)!) })),
    );
    await writeJson(folder, 'config.json', llava.layout === 'original' ? originalConfig(llava) : llava.config);
  });
}
