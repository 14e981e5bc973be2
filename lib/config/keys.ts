import { closest } from 'fastest-levenshtein';

/** batch_size and batch-size are batchSize: YAML, flags and the API spell one key in their own way. */
export function camelCase(key: string): string {
  return key.replace(/[-_]+([a-z0-9])/gi, (_, letter: string) => letter.toUpperCase());
}

export function kebabCase(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

export function snakeCase(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** The known key that is spelt most like this one. */
export function nearest(key: string, known: readonly string[]): string {
  return closest(camelCase(key), [...known]);
}
