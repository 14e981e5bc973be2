/**
 * node scripts/bench/zero-shot.mjs --model DIR --images DIR --python PYTHON --peer embed_images.py [--precision bf16] [--batch 32]
 * [--repeat 3]
 *
 * Zero-shot classification of a folder with a folder a class, by the class folders' names, against the peer that embeds the same images
 * with transformers and a DataLoader, one after the other in one sitting. Prints one JSON line: images a second, decoding included and the
 * first batch left out, medians; `differing` counts the images whose first class is another from the peer's embeddings; the ratio.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { readSafetensors } from '../../dist/lib/files/safetensors.js';
import { evaluate, openEncoder, topK } from '../../dist/lib/index.js';

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    images: { type: 'string' },
    python: { type: 'string' },
    peer: { type: 'string' },
    precision: { type: 'string', default: 'fp32' },
    batch: { type: 'string', default: '32' },
    repeat: { type: 'string', default: '3' },
  },
});
const { model, images, python, peer, precision } = values;
const [batch, repeat] = [Number(values.batch), Number(values.repeat)];
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
const folder = mkdtempSync(join(tmpdir(), 'kuea-bench-'));

async function ours() {
  const predictions = join(folder, 'predictions.jsonl');
  const templates = join(folder, 'templates.txt');
  writeFileSync(templates, 'a photo of a {c}.\n');
  const times = [];
  const run = evaluate({ task: 'zero-shot', model, data: images, templates, predictions, precision, batchSize: batch, cache: 'off' });
  for await (const event of run) if (event.type === 'tick') times.push({ step: event.step, at: performance.now() });
  const { metrics } = await run.result;
  const [, first] = times;
  const last = times.at(-1);
  const lines = readFileSync(predictions, 'utf8').trim().split('\n');
  return {
    rate: (last.step - first.step) / ((last.at - first.at) / 1000),
    found: new Map(lines.map((line) => JSON.parse(line)).map(({ image, top5 }) => [image, top5[0]])),
    metrics,
  };
}

function theirs() {
  const save = join(folder, 'peer.safetensors');
  const args = ['--model', model, '--images', images, '--batch', `${batch}`, '--save', save];
  if (precision === 'bf16') args.push('--bf16');
  const out = execFileSync(python, [peer, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  return { ...JSON.parse(out.trim().split('\n').at(-1)), save };
}

/** First classes by the peer's embeddings of the sorted images, with our embeddings of the names. */
async function classified(save) {
  const classes = readdirSync(images).sort();
  const encoder = await openEncoder(model, { precision });
  const weight = { data: await encoder.encodeTexts(classes.map((name) => `a photo of a ${name}.`)), width: encoder.dim };
  await encoder.close();
  const { tensors } = await readSafetensors(save);
  const { offset, shape } = tensors.get('embeddings');
  const bytes = readFileSync(save).subarray(offset, offset + 4 * shape[0] * shape[1]);
  const rows = new Float32Array(new Uint8Array(bytes).buffer);
  return (await topK({ data: rows, width: shape[1] }, weight, 1)).indices;
}

try {
  const rates = { kuea: [], peer: [] };
  let [last, other] = [null, null];
  for (let i = 0; i < repeat; i++) {
    other = theirs();
    rates.peer.push(other.images_per_second);
    last = await ours();
    rates.kuea.push(last.rate);
  }
  const indices = await classified(other.save);
  const differing = [...last.found.keys()].sort().filter((name, i) => last.found.get(name) !== indices[i]).length;
  const [kuea, peerRate] = [median(rates.kuea), median(rates.peer)];
  console.log(JSON.stringify({ images: indices.length, precision, batch, kuea, peer: peerRate, ratio: kuea / peerRate, differing, rates }));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
