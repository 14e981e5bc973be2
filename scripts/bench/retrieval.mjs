/**
 * node scripts/bench/retrieval.mjs [--images 5000] [--captions 25000] [--width 512] [--threads 2] [--repeat 3] [--python PYTHON]
 *
 * Ranks images for captions and captions for images (ten each) in one sweep, and, where a Python with torch is given, against the eager
 * score matrix there, in one sitting. Prints one JSON line: seconds and cpu (of all threads; what counts where others use the cores too)
 * are medians, extra_mb what the peak of resident memory rose by over the embeddings; `differing` counts the places of the first ten where
 * the two disagree.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { generator } from '../../dist/lib/data/random.js';
import { topKBothWays } from '../../dist/lib/eval/rank.js';
import { loadAddon } from '../../dist/lib/native/load.js';

const { values } = parseArgs({
  options: {
    images: { type: 'string', default: '5000' },
    captions: { type: 'string', default: '25000' },
    width: { type: 'string', default: '512' },
    threads: { type: 'string', default: '2' },
    repeat: { type: 'string', default: '3' },
    python: { type: 'string' },
  },
});
const [images, captions, width, threads, repeat] = ['images', 'captions', 'width', 'threads', 'repeat'].map((name) => Number(values[name]));
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
const peakMb = () => Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024;

function rows(count, seed) {
  const next = generator(seed, 0);
  return { data: Float32Array.from({ length: count * width }, () => next() / 2 ** 31 - 1), width };
}

await loadAddon().setThreads(threads);
const [ofImages, ofCaptions] = [rows(images, 1), rows(captions, 2)];
// Threads and code are there before memory is measured.
await topKBothWays({ data: ofImages.data.slice(0, width), width }, { data: ofCaptions.data.slice(0, width), width }, 1);
// The peak starts again from what is resident now.
writeFileSync('/proc/self/clear_refs', '5');
const before = peakMb();
const runs = [];
let found;
for (let i = 0; i < repeat; i++) {
  const [start, cpu] = [performance.now(), process.cpuUsage()];
  found = await topKBothWays(ofCaptions, ofImages, 10);
  const used = process.cpuUsage(cpu);
  runs.push({ seconds: (performance.now() - start) / 1000, cpu: (used.user + used.system) / 1e6 });
}
const kuea = { seconds: median(runs.map((r) => r.seconds)), cpu: median(runs.map((r) => r.cpu)), extra_mb: peakMb() - before };
const result = { images, captions, width, threads, kuea };

if (values.python) {
  const folder = mkdtempSync(join(tmpdir(), 'kuea-bench-'));
  try {
    writeFileSync(join(folder, 'images.f32'), ofImages.data);
    writeFileSync(join(folder, 'captions.f32'), ofCaptions.data);
    const script = fileURLToPath(new URL('eval_peers.py', import.meta.url));
    const sizes = { images, captions, width, threads, repeat };
    const options = Object.entries(sizes).flatMap(([name, value]) => [`--${name}`, String(value)]);
    const peer = JSON.parse(execFileSync(values.python, [script, 'retrieval', folder, ...options], { encoding: 'utf8' }));
    result.torch = { seconds: median(peer.seconds), cpu: median(peer.cpu), extra_mb: peer.extra_mb };
    result.faster = result.torch.seconds / kuea.seconds;
    result.faster_by_cpu = result.torch.cpu / kuea.cpu;
    result.memory = kuea.extra_mb / peer.extra_mb;
    result.differing = found.map(({ indices }, i) => {
      const bytes = readFileSync(join(folder, ['of_captions.i32', 'of_images.i32'][i]));
      const theirs = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
      return indices.reduce((count, index, place) => count + (index === theirs[place] ? 0 : 1), 0);
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}
console.log(JSON.stringify(result));
