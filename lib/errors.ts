/**
 * The one error class. `code` is stable and meant for programs; the message is one sentence for people: what was expected, what was
 * found, and what to do.
 */
export class KueaError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: { cause?: unknown }) {
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
    text = JSON.stringify(value) ?? String(value);
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
