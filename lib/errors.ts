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
