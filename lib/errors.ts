/** Every code that an error of kuea may have, in lib/ and native/, by what is wrong. Codes are stable: programs compare them. */
export const errorCodes = [
  // Options, arguments, configuration
  'bad_argument',
  'bad_config',
  'bad_environment',
  'bad_option',
  'missing_option',
  'unknown_option',
  'unknown_preset',

  // Files and folders
  'bad_archive',
  'bad_json',
  'bad_pickle',
  'bad_safetensors',
  'bad_tensor',
  'disk_full',
  'exists',
  'file_changed',
  'file_not_found',
  'file_too_large',
  'forbidden_pickle',
  'lock_lost',
  'not_a_file',
  'too_large',
  'unreadable_file',
  'unwritable_file',

  // The hub
  'hub_cache',
  'hub_corrupt',
  'hub_denied',
  'hub_not_found',
  'hub_offline',
  'hub_unreachable',

  // Models, tokenizers, adapters
  'activation_mismatch',
  'activation_unknown',
  'adapter_not_found',
  'bad_adapter',
  'bad_plan',
  'bad_tokenizer',
  'bad_weights',
  'conversion_differs',
  'feature_mismatch',
  'no_text_tower',
  'not_exportable',
  'origin_not_found',
  'projector_not_found',
  'tokenizer_not_found',
  'tower_not_found',
  'unsupported_adapter',
  'unsupported_merge',
  'unsupported_model',
  'unsupported_preprocessing',
  'weights_not_found',
  'wrong_base',
  'wrong_family',

  // Images, conversations, prompts
  'bad_batch',
  'bad_image_size',
  'bad_index',
  'bad_prompt',
  'bad_shard',
  'data_changed',
  'data_empty',
  'data_format',
  'data_not_found',
  'empty_batch',
  'data_unreadable',
  'gzip_shard',
  'image_not_found',
  'missing_images',
  'pixel_size',
  'too_few_images',
  'too_many_links',
  'too_many_skipped',
  'truncated_shard',
  'undecodable_image',

  // Data with answers
  'bad_annotations',
  'bad_labels',
  'bad_suite',
  'bad_template',
  'no_classes',
  'split_not_found',
  'unknown_dataset',
  'wrong_count',
  'wrong_task',

  // Runs: their folders, checkpoints and caches
  'bad_cache',
  'bad_checkpoint',
  'bad_inputs',
  'bad_kernel',
  'bad_out',
  'bad_row',
  'bad_skipped',
  'events_in_use',
  'frozen_missing',
  'no_cache',
  'non_finite',
  'nothing_to_resume',
  'out_in_use',
  'out_not_empty',
  'resume_mismatch',
  'stopped',

  // Evaluations
  'bad_embeddings',
  'bad_label',
  'bad_owner',
  'no_samples',
  'unpaired',

  // Several ranks
  'no_nccl',
  'no_process_group',
  'port_in_use',
  'process_group_open',
  'rank_failed',
  'ranks_differ',
  'unreachable_master',

  // The addon, the device, what is open on it
  'addon_broken',
  'addon_missing',
  'addon_stale',
  'closed',
  'internal',
  'libtorch',
  'no_device',
  'no_sequence',
  'out_of_memory',
] as const;

export type KueaErrorCode = (typeof errorCodes)[number];

/**
 * The one error class. `code` is stable and meant for programs; the message is one sentence for people: what was expected, what was
 * found, and what to do.
 */
export class KueaError extends Error {
  readonly code: KueaErrorCode;

  constructor(code: KueaErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'KueaError';
    this.code = code;
  }
}

/** Characters of a foreign value that a message quotes. */
const longest = 120;

/** A value of a file that somebody else made, for a message: as JSON on one line, cut when it is long, whatever it is. */
export function shown(value: unknown): string {
  let text: string;
  try {
    text = JSON.stringify(value) ?? 'none';
  } catch {
    // Cyclic, too deep, or a bigint.
    text = typeof value === 'bigint' ? value.toString() : 'something that is no JSON';
  }
  return text.length <= longest ? text : `${text.slice(0, longest)}...`;
}

/** The same, and text without its quotes: a name. */
export function named(value: unknown): string {
  return typeof value === 'string' ? shown(value).replace(/^"|"$/g, '') : shown(value);
}

/** Why something failed, by another's error: on one line, and not all of it when it is long. */
export function reason(error: unknown): string {
  const text = (error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ').trim();
  return text.length <= 2 * longest ? text : `${text.slice(0, 2 * longest)}...`;
}
