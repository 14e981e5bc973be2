import { createHash } from 'node:crypto';

import { KueaError, reason } from '../../errors.js';
import { openRegular } from '../../regular-file.js';

/** Read at a time. */
const window = 1 << 22;
/** A record of more bytes is taken for damage: LLaVA's longest have some ten thousand. */
const largestRecord = 1 << 24;
/** Lists and objects within each other; LLaVA's have three. What reads a record may call itself for each. */
const deepest = 100;

const [quote, backslash, comma, openBrace, closeBrace, openBracket, closeBracket] = Buffer.from('"\\,{}[]');
const isSpace = (byte: number) => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;

function bad(file: string, at: number, why: string, cause?: unknown): KueaError {
  return new KueaError(
    'bad_json',
    `expected a JSON array of objects, or an object a line, in ${file}; at byte ${at} ${why}: mend the file or fetch it again`,
    { cause },
  );
}

/** JSON of one record; `start` is its place in the file. */
function parse(file: string, bytes: Buffer, start: number): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw bad(file, start, `begins a record that is no JSON (${reason(error)})`, error);
  }
}

/**
 * Reads a file of records, a JSON array of objects or JSON lines, from front to back and calls `visit` with each record and where it lies,
 * so that no more than a record is in memory. Resolves to the hex SHA-256 of the file. Throws KueaError `bad_json`, naming the byte, for a
 * damaged or truncated file.
 */
export async function scanRecords(
  file: string,
  visit: (record: unknown, offset: number, size: number) => void,
  signal?: AbortSignal,
): Promise<string> {
  const { handle } = await openRegular(file);
  const hash = createHash('sha256');
  try {
    const chunk = Buffer.allocUnsafe(window);
    /** What has been read from byte `base` of the file on; bytes before `at` have been looked at. */
    let bytes: Buffer = Buffer.alloc(0);
    let [base, at] = [0, 0];
    /** Of the record that is being read. */
    let [start, depth, inString, escaped] = [-1, 0, false, false];
    let place: 'before' | 'first' | 'record' | 'comma' | 'lines' | 'after' = 'before';

    for (;;) {
      signal?.throwIfAborted();
      const { bytesRead } = await handle.read(chunk, 0, window);
      if (bytesRead === 0) break;
      hash.update(chunk.subarray(0, bytesRead));
      const kept = start < 0 ? at : start;
      bytes = Buffer.concat([bytes.subarray(kept), chunk.subarray(0, bytesRead)]);
      [base, at] = [base + kept, at - kept];
      if (start >= 0) start = 0;
      if (bytes.length > largestRecord + window) throw bad(file, base, `a record of more than ${largestRecord} bytes begins`);

      for (; at < bytes.length; at++) {
        const byte = bytes[at]!;
        if (start >= 0) {
          if (inString) {
            if (escaped) escaped = false;
            else if (byte === backslash) escaped = true;
            else if (byte === quote) inString = false;
          } else if (byte === quote) inString = true;
          else if (byte === openBrace || byte === openBracket) {
            if (++depth > deepest) throw bad(file, base + start, `a record begins that is nested more than ${deepest} deep`);
          } else if ((byte === closeBrace || byte === closeBracket) && --depth === 0) {
            visit(parse(file, bytes.subarray(start, at + 1), base + start), base + start, at + 1 - start);
            start = -1;
            if (place !== 'lines') place = 'comma';
          }
          continue;
        }
        // The bytes of U+FEFF before everything are no part of the text.
        if (isSpace(byte) || (base + at < 3 && place === 'before' && byte === [0xef, 0xbb, 0xbf][base + at])) continue;
        if (byte === openBrace && place !== 'comma' && place !== 'after') {
          if (place === 'before') place = 'lines';
          [start, depth] = [at, 1];
        } else if (byte === openBracket && place === 'before') place = 'first';
        else if (byte === comma && place === 'comma') place = 'record';
        else if (byte === closeBracket && (place === 'comma' || place === 'first')) place = 'after';
        else throw bad(file, base + at, `found ${JSON.stringify(bytes.toString('utf8', at, at + 12))}`);
      }
    }
    if (start >= 0) throw bad(file, base + bytes.length, `found its end, within the record that begins at byte ${base + start}`);
    if (place !== 'after' && place !== 'lines')
      throw bad(file, base + bytes.length, `found its end ${place === 'before' ? 'before any record' : 'within the array'}`);
    return hash.digest('hex');
  } finally {
    await handle.close();
  }
}
