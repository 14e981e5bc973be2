/**
 * Runs cases of one reader and tells its parent what came of them: node child.mjs READER SEED FROM TO FOLDER. The number of the case that
 * is under way is in FOLDER/at, so that the parent knows which one ended or hung the process.
 */
import { mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import { caseOf, readers } from './readers.mjs';

const [name, seed, from, to, folder] = process.argv.slice(2);
const reader = readers[name];
/** A message may be long, but not a book. */
const longestMessage = 4000;

/** Why an error is none of ours, or null. */
function fault(error) {
  if (error?.name !== 'KueaError') return `${error?.name ?? typeof error}: ${error?.message ?? String(error)}`;
  if (!/^[a-z][a-z0-9_]*$/.test(error.code)) return `a code that is none: ${error.code}`;
  if (/[\n\r]/.test(error.message)) return `a message of several lines: ${error.message}`;
  return error.message.length > longestMessage ? `a message of ${error.message.length} characters` : null;
}

const place = join(folder, 'work');
mkdirSync(place, { recursive: true });
reader.prepare?.(place);
for (const [beside, bytes] of Object.entries(reader.beside ?? {})) writeFileSync(join(place, beside), bytes);
const file = join(place, reader.name);
const at = openSync(join(folder, 'at'), 'w');
const result = { cases: 0, read: 0, codes: {}, failures: [], slowest: { case: -1, cpu_ms: 0 }, growth_mb: 0, peak_rss_mb: 0 };
/** CPU time of all threads, which other processes do not lengthen, in milliseconds; and the peak of memory, in MB. */
const cpu = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const peak = () => process.resourceUsage().maxRSS / 1024;

for (let i = Number(from); i < Number(to); i++) {
  writeSync(at, `${i}`.padEnd(12), 0);
  const bytes = caseOf(name, Number(seed), i);
  writeFileSync(file, bytes);
  reader.bytes = bytes;
  const [began, before] = [cpu(), peak()];
  let wrong = null;
  try {
    await reader.read(file);
    result.read++;
  } catch (error) {
    wrong = fault(error);
    const code = wrong ? 'none' : error.code;
    result.codes[code] = (result.codes[code] ?? 0) + 1;
  }
  const [took, grew] = [cpu() - began, peak() - before];
  if (took > result.slowest.cpu_ms) result.slowest = { case: i, cpu_ms: Math.round(took) };
  if (took > 2000) wrong ??= `${Math.round(took)} ms`;
  if (grew > 1024) wrong ??= `${Math.round(grew)} MB more memory`;
  result.growth_mb = Math.max(result.growth_mb, Math.round(grew));
  result.cases++;
  if (wrong && result.failures.length < 50) result.failures.push({ case: i, what: wrong.slice(0, 600), bytes: bytes.length });
}
result.peak_rss_mb = Math.round(peak());
process.send(result, () => process.exit(0));
