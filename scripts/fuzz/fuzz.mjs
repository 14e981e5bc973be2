/**
 * Hostile files for every reader, from a seed: node scripts/fuzz/fuzz.mjs [--cases 1000] [--from 0] [--seed 1] [--jobs 1] [--seconds 400]
 * [--readers safetensors,tar] [--show READER:CASE]. The cases are of each reader; after --seconds no more are begun. Readers have processes
 * of their own, --jobs at a time, so that what ends one or hangs is found, named and passed over. Prints JSON: the cases of each reader,
 * how many were read, the errors by code, the slowest (CPU time), the peak of memory, and failures: an error without a code, more than 2 s
 * or 1 GB for one file, a process that ended. --show writes the file of one case to standard output.
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
    seconds: { type: 'string', default: 'Infinity' },
    jobs: { type: 'string', default: '1' },
    from: { type: 'string', default: '0' },
    seed: { type: 'string', default: '1' },
    readers: { type: 'string' },
    show: { type: 'string' },
  },
});
/** Wall time without a new case after which a process hangs; generous, for CPU time is what is judged. */
const patience = 20_000;
/** Cases of one process: some thousand outweigh its start, and a stop between two loses little. */
const most = 2000;
const deadline = Date.now() + 1000 * Number(values.seconds);
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
      resolve(said ?? { ended, failures: [] });
    });
  });
}

if (values.show) {
  const [name, number] = values.show.split(':');
  process.stdout.write(caseOf(name, Number(values.seed), Number(number)));
  process.exit();
}

const seed = Number(values.seed);
const [first, end] = [Number(values.from), Number(values.from) + Number(values.cases)];
const names = values.readers?.split(',') ?? Object.keys(readers);
const found = Object.fromEntries(
  names.map((name) => [name, { cases: 0, read: 0, codes: {}, slowest: { case: -1, cpu_ms: 0 }, growth_mb: 0, peak_rss_mb: 0 }]),
);
const failures = [];

function add(name, one) {
  const total = found[name];
  total.cases += one.cases;
  total.read += one.read;
  for (const [code, count] of Object.entries(one.codes)) total.codes[code] = (total.codes[code] ?? 0) + count;
  if (one.slowest.cpu_ms > total.slowest.cpu_ms) total.slowest = one.slowest;
  total.growth_mb = Math.max(total.growth_mb, one.growth_mb);
  total.peak_rss_mb = Math.max(total.peak_rss_mb, one.peak_rss_mb);
}

// In rounds over the readers, so that a stop is fair to all.
const parts = [];
for (let from = first; from < end; from += most) for (const name of names) parts.push({ name, from, to: Math.min(end, from + most) });
async function work() {
  while (parts.length > 0 && Date.now() < deadline) {
    const { name, from, to } = parts.shift();
    const { ended, failures: fresh, ...one } = await part(name, from, to);
    if (!ended) {
      add(name, one);
      failures.push(...fresh.map((failure) => ({ reader: name, seed, ...failure })));
      continue;
    }
    failures.push({ reader: name, seed, ...ended });
    found[name].cases++;
    // The rest of the part, without the case that ended it; what it had counted before is done again.
    parts.unshift(
      ...[
        { name, from, to: ended.case },
        { name, from: ended.case + 1, to },
      ].filter((rest) => rest.from < rest.to),
    );
  }
}
await Promise.all(Array.from({ length: Number(values.jobs) }, work));
const cases = Object.values(found).reduce((sum, one) => sum + one.cases, 0);
console.log(JSON.stringify({ seed, from: first, cases, readers: found, failures }, null, 2));
process.exitCode = failures.length === 0 ? 0 : 1;
