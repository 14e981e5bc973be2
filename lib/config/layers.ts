/** Options that say one thing in two ways. */
const alternatives = [
  ['steps', 'epochs'],
  ['warmupSteps', 'warmupRatio'],
] as const;

/** Options of which two determine the third. */
const batch = ['gradAccum', 'microBatch', 'batchSize'] as const;

/**
 * Options of which the stronger outweigh the weaker: also those that say the same in another way, such as the file's epochs when steps are
 * typed, and the file's cut of the batch where the two together would leave nothing open.
 */
export function overlay(weaker: Record<string, unknown>, stronger: Record<string, unknown>): Record<string, unknown> {
  const merged = { ...weaker, ...stronger };
  for (const [one, other] of alternatives) {
    if (one in stronger && !(other in stronger)) delete merged[other];
    if (other in stronger && !(one in stronger)) delete merged[one];
  }
  const replaced = batch.find((key) => !(key in stronger));
  if (replaced && batch.every((key) => key in merged) && batch.some((key) => key in stronger)) delete merged[replaced];
  return merged;
}
