import { KueaError, reason } from '../../errors.js';
import { readIfThere } from '../../regular-file.js';

/** Bytes of a list of names at most; ImageNet's has 15 kB. */
const largestList = 1 << 22;

/** UTF-8, without the mark that may stand before it. Throws KueaError `bad_labels`, naming `place`, for other bytes. */
export function utf8(bytes: Uint8Array, place: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new KueaError('bad_labels', `expected UTF-8 text in ${place}, found other bytes (${reason(cause)}): save it as UTF-8`, { cause });
  }
}

/** Python's str.splitlines: a line end at the end begins no line. */
export function splitLines(text: string): string[] {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: Python takes these for line ends.
  const lines = text.split(/\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/);
  if (lines.at(-1) === '') lines.pop();
  return lines;
}

/** A text file, null when there is none. Throws KueaError `bad_labels`, and what `readIfThere` throws. */
export async function readText(file: string): Promise<string | null> {
  const bytes = await readIfThere(file, largestList);
  return bytes && utf8(bytes, file);
}

/** A file of names, one a line, without the space around them; null when there is none. Empty lines are names too. */
export async function readNames(file: string): Promise<string[] | null> {
  const text = await readText(file);
  return text === null ? null : splitLines(text).map((line) => line.trim());
}
