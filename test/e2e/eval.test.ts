import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { type EvaluateOptions, type EvaluationEvent, type EvaluationResult, evaluate } from '../../lib/index.js';
import { packageRoot } from '../../lib/package.js';

const folder = join(packageRoot(), 'test/golden/eval-tasks');
const expected = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')) as {
  labels: number[];
  zero_shot: { metrics: Record<string, number>; top5: number[][]; logits: number[][] };
  retrieval: Record<'clip-benchmark' | 'kuea-release', Record<string, number>>;
  linear_probe: { l2: number; lp_objective: number; lp_acc1: number };
};

describe('evaluate', () => {
  let work: string;
  before(() => (work = mkdtempSync(join(tmpdir(), 'kuea-eval-'))));
  after(() => rmSync(work, { recursive: true, force: true }));

  type Some<T> = T extends unknown ? Omit<T, 'model' | 'data' | 'cache'> : never;

  /** Measures the demo's CLIP; `embedded` counts images that were not in the cache. */
  async function measure(options: Some<EvaluateOptions> & { cache?: string }, signal?: AbortSignal) {
    const { task, cache = join(work, 'cache') } = options;
    const model = join(packageRoot(), 'configs/demo/clip');
    const asked = { model, data: join(folder, task === 'retrieval' ? 'retrieval' : 'wds'), ...options, cache } as EvaluateOptions;
    const run = evaluate(asked, { signal });
    const ticks: Extract<EvaluationEvent, { type: 'tick' }>[] = [];
    for await (const event of run) if (event.type === 'tick') ticks.push(event);
    return { result: await run.result, embedded: ticks.at(-1)!.steps - ticks[0]!.step };
  }

  function expectMetrics({ metrics }: EvaluationResult, oracle: Record<string, number>): void {
    expect(metrics).to.have.all.keys(Object.keys(oracle));
    // Counts over so many images: a place that differs is a whole image.
    for (const [name, value] of Object.entries(oracle)) expect(metrics[name], name).to.be.closeTo(value, 1e-6);
  }

  it('classifies as transformers and CLIP_benchmark do, image by image', async () => {
    const predictions = join(work, 'predictions.jsonl');
    const json = join(work, 'result.json');
    const { result } = await measure({ task: 'zero-shot', predictions, json });
    expectMetrics(result, expected.zero_shot.metrics);
    expect(result).to.include({ task: 'zeroshot_classification', n: 24, protocol: 'clip-benchmark', language: 'en' });
    expect(JSON.parse(readFileSync(json, 'utf8'))).to.deep.equal(result);
    const lines = readFileSync(predictions, 'utf8').trim().split('\n');
    expect(lines).to.have.length(24);
    lines.forEach((line, i) => {
      const { label, top5, logits } = JSON.parse(line) as { label: number; top5: number[]; logits: number[] };
      expect(label).to.equal(expected.labels[i]);
      expect(top5).to.deep.equal(expected.zero_shot.top5[i]);
      // Logits are 100 cosines, embeddings agree to a few parts in a million.
      top5.forEach((c, k) => expect(logits[k]).to.be.closeTo(expected.zero_shot.logits[i]![c]!, 1e-3));
    });
  });

  for (const protocol of ['clip-benchmark', 'kuea-release'] as const)
    it(`retrieves as the oracle does, by the protocol ${protocol}`, async () => {
      expectMetrics((await measure({ task: 'retrieval', protocol })).result, expected.retrieval[protocol]);
    });

  it('probes to the optimum that float64 finds', async () => {
    const { l2, lp_objective, lp_acc1 } = expected.linear_probe;
    const { metrics } = (await measure({ task: 'linear-probe', l2 })).result;
    expect(metrics.lp_objective).to.be.closeTo(lp_objective, 1e-6 * lp_objective);
    expect(metrics.lp_acc1).to.be.closeTo(lp_acc1, 1e-6);
  });

  it('decodes an image once, whatever is measured of it, and goes on after a stop', async () => {
    const cache = join(work, 'stopped');
    const stop = new AbortController();
    const run = evaluate(
      { task: 'zero-shot', model: join(packageRoot(), 'configs/demo/clip'), data: join(folder, 'wds'), cache, batchSize: 4 },
      { signal: stop.signal },
    );
    const watch = async () => {
      for await (const event of run) if (event.type === 'tick' && event.step >= 12) stop.abort(new Error('enough'));
    };
    expect(await watch().catch((error: unknown) => error)).to.have.property('message', 'enough');
    const resumed = await measure({ task: 'zero-shot', cache });
    expect(resumed.embedded).to.be.within(1, 12);
    expectMetrics(resumed.result, expected.zero_shot.metrics);
    expect((await measure({ task: 'zero-shot', cache })).embedded).to.equal(0);
    // The published code's pixels are others, so are its features.
    expect((await measure({ task: 'retrieval', cache, protocol: 'kuea-release' })).embedded).to.equal(24);
  });

  it('computes what a cache has wrong again', async () => {
    const cache = join(work, 'damaged');
    await measure({ task: 'zero-shot', cache });
    const [file] = readdirSync(cache, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.safetensors'));
    const bytes = readFileSync(join(cache, file!));
    bytes[bytes.length - 1]! ^= 0xff;
    writeFileSync(join(cache, file!), bytes);
    const { embedded, result } = await measure({ task: 'zero-shot', cache });
    expect(embedded).to.be.within(1, 24);
    expectMetrics(result, expected.zero_shot.metrics);
  });

  it('says what it wants of the data', async () => {
    const failed = (options: Some<EvaluateOptions>) =>
      measure(options).then(
        () => expect.fail('it did not fail'),
        (error: unknown) => error as Error,
      );
    expect((await failed({ task: 'zero-shot', split: 'val' })).message).to.match(/expected .*val/);
    expect(() => evaluate({ task: 'nothing' } as unknown as EvaluateOptions)).to.throw(/zero-shot, retrieval and linear-probe/);
  });
});
