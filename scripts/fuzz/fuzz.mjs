/**
 * Hostile files for every reader, from a seed: node scripts/fuzz/fuzz.mjs [--cases 1000] [--from 0] [--seed 1] [--readers safetensors,tar]
 * [--show READER:CASE]. Each reader has a process of its own, so that what ends it or hangs is found, named and passed over. Prints JSON:
 * the cases of each reader, how many were read, the errors by code, the slowest (CPU time), the peak of memory, and failures: an error
 * without a code, more than 2 s or 1 GB for one file, a process that ended. --show writes the file of one case to standard output.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { caseOf, readers } from './readers.mjs';

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '1000' },
    from: { type: 'string', default: '0' },
    seed: { type: 'string', default: '1' },
    readers: { type: 'string' },
    show: { type: 'string' },
  },
});
/** Wall time without a new case after which a process hangs; generous, for CPU time is what is judged. */
const patience = 20_000;
const child = fileURLToPath(new URL('./child.mjs', import.meta.url));
/** No model is fetched, whatever a config names. */
const env = { ...process.env, HF_ENDPOINT: 'http://127.0.0.1:9', HF_HUB_OFFLINE: '1', UV_THREADPOOL_SIZE: '2' };

/** Runs cases [from, to) in one process; resolves to what it said, or to the case that ended it and how. */
function part(name, from, to) {
  return new Promise((resolve) => {
    const folder = mkdtempSync(join(tmpdir(), 'kuea-fuzz-'));
    const started = spawn(process.execPath, [child, name, values.seed, String(from), String(to), folder], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env,
    });
    let said = null;
    let complaint = '';
    let last = { at: '', since: Date.now() };
    const at = () => (existsSync(join(folder, 'at')) ? readFileSync(join(folder, 'at'), 'utf8').trim() : '');
    const watch = setInterval(() => {
      const now = at();
      if (now !== last.at) last = { at: now, since: Date.now() };
      else if (Date.now() - last.since > patience) started.kill('SIGKILL');
    }, 500);
    started.on('message', (message) => (said = message));
    started.stderr.on('data', (chunk) => (complaint = (complaint + chunk).slice(-2000)));
    started.on('close', (code, signal) => {
      clearInterval(watch);
      const ended = { case: Number(at() || from), what: `the process ended with ${signal ?? code}: ${complaint.slice(-400)}` };
      rmSync(folder, { recursive: true, force: true });
      resolve(said ?? { ended });
    });
  });
}

/** All cases of a reader, beginning anew behind a case that ended the process. What that process had counted before is counted again. */
async function fuzz(name, from, to) {
  const total = { cases: 0, read: 0, codes: {}, failures: [], slowest: { case: -1, cpu_ms: 0 }, growth_mb: 0, peak_rss_mb: 0 };
  const add = (found) => {
    total.cases += found.cases;
    total.read += found.read;
    for (const [code, count] of Object.entries(found.codes)) total.codes[code] = (total.codes[code] ?? 0) + count;
    total.failures.push(...found.failures);
    if (found.slowest.cpu_ms > total.slowest.cpu_ms) total.slowest = found.slowest;
    total.growth_mb = Math.max(total.growth_mb, found.growth_mb);
    total.peak_rss_mb = Math.max(total.peak_rss_mb, found.peak_rss_mb);
  };
  const pending = [[from, to]];
  while (pending.length > 0 && total.failures.length < 50) {
    const [begin, end] = pending.pop();
    if (begin >= end) continue;
    const found = await part(name, begin, end);
    if (!found.ended) {
      add(found);
      continue;
    }
    total.failures.push(found.ended);
    total.cases++;
    pending.push([found.ended.case + 1, end], [begin, found.ended.case]);
  }
  return total;
}

if (values.show) {
  const [name, number] = values.show.split(':');
  process.stdout.write(caseOf(name, Number(values.seed), Number(number)));
} else {
  const names = values.readers?.split(',') ?? Object.keys(readers);
  const [from, count] = [Number(values.from), Number(values.cases)];
  const found = {};
  for (const name of names) found[name] = await fuzz(name, from, from + count);
  const all = Object.values(found);
  const failures = names.flatMap((name) =>
    found[name].failures.map((failure) => ({ reader: name, seed: Number(values.seed), ...failure })),
  );
  for (const one of all) delete one.failures;
  console.log(
    JSON.stringify(
      { seed: Number(values.seed), from, cases: all.reduce((sum, { cases }) => sum + cases, 0), readers: found, failures },
      null,
      2,
    ),
  );
  process.exitCode = failures.length === 0 ? 0 : 1;
}
