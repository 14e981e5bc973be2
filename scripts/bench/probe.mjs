/**
 * node scripts/bench/probe.mjs [--rows 50000] [--width 768] [--classes 10] [--l2 1e-3] [--threads 2] [--python PYTHON]
 *
 * The L-BFGS probe on seeded features with a common mean and a decaying spectrum, as embeddings have; where a Python with torch and
 * scikit-learn is given, against theirs in one sitting. Prints one JSON line of seconds, cpu (of all threads) and objectives: ours when it
 * stops, and when it first is within 1e-6 of the least objective that anybody found.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { generator } from '../../dist/lib/data/random.js';
import { fitAdamW, fitLbfgs } from '../../dist/lib/eval/probe.js';
import { loadAddon } from '../../dist/lib/native/load.js';

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '50000' },
    width: { type: 'string', default: '768' },
    classes: { type: 'string', default: '10' },
    l2: { type: 'string', default: '1e-3' },
    threads: { type: 'string', default: '2' },
    python: { type: 'string' },
  },
});
const sizes = Object.fromEntries(['rows', 'width', 'classes', 'l2', 'threads'].map((name) => [name, Number(values[name])]));
const { rows, width, classes, l2, threads } = sizes;

const next = generator(1, 0);
const uniform = () => (next() + 0.5) / 2 ** 32;
const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
const scale = Float64Array.from({ length: width }, (_, k) => (1 + k) ** -0.5);
const mean = scale.map(() => 0.6 * normal());
const centres = Float64Array.from({ length: classes * width }, (_, i) => 0.35 * scale[i % width] * normal());
const labels = Int32Array.from({ length: rows }, () => next() % classes);
const data = Float32Array.from({ length: rows * width }, (_, i) => {
  const k = i % width;
  return mean[k] + centres[labels[Math.floor(i / width)] * width + k] + scale[k] * normal();
});
const train = { features: { data, width }, labels };

function stopwatch() {
  const [start, cpu] = [performance.now(), process.cpuUsage()];
  return () => {
    const used = process.cpuUsage(cpu);
    return { seconds: (performance.now() - start) / 1000, cpu: (used.user + used.system) / 1e6 };
  };
}

await loadAddon().setThreads(threads);
const trace = [];
let elapsed = stopwatch();
const fit = await fitLbfgs(train, classes, { l2, onIteration: ({ objective }) => trace.push({ objective, ...elapsed() }) });
const kuea = { ...elapsed(), objective: fit.objective, iterations: fit.iterations };
elapsed = stopwatch();
await fitAdamW(train, classes);
const result = { ...sizes, kuea, kuea_adamw: elapsed() };

let least = fit.objective;
if (values.python) {
  const folder = mkdtempSync(join(tmpdir(), 'kuea-bench-'));
  try {
    writeFileSync(join(folder, 'features.f32'), data);
    writeFileSync(join(folder, 'labels.i32'), labels);
    const script = fileURLToPath(new URL('eval_peers.py', import.meta.url));
    const options = Object.entries(sizes).flatMap(([name, value]) => [`--${name}`, String(value)]);
    const peers = JSON.parse(execFileSync(values.python, [script, 'probe', folder, ...options], { encoding: 'utf8' }));
    least = Math.min(least, ...Object.values(peers).map(({ objective }) => objective));
    for (const peer of Object.values(peers)) peer.above_least = peer.objective / least - 1;
    Object.assign(result, peers);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
kuea.above_least = kuea.objective / least - 1;
result.kuea_to_1e6 = trace.find(({ objective }) => objective <= least * (1 + 1e-6));
console.log(JSON.stringify(result, null, 1));
