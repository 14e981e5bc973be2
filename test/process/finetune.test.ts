import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { writeConversationScenes } from '../../lib/demo/questions.js';
import { packageRoot } from '../../lib/package.js';

const root = packageRoot();
const program = join(root, 'dist/lib/cli/kuea-lora.cjs');
const model = join(root, 'configs/demo/llava');

interface Line {
  [key: string]: number;
}

describe('kuea-lora as a process', () => {
  let work: string;
  before(async () => {
    work = mkdtempSync(join(tmpdir(), 'kuea-lora-'));
    await writeConversationScenes(work, { train: 20, heldOut: 4, seed: 5, size: 64 });
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  const path = (...names: string[]) => join(work, ...names);
  // Two epochs of five updates, each in an order of its own, with dropout, a trained projector and held-out samples.
  const recipe = (out: string, data = path('train.json'), length = ['--epochs', '2']) => [
    '--model',
    model,
    '--data',
    data,
    '--out',
    path(out),
    '--rank',
    '4',
    '--alpha',
    '8',
    '--micro-batch',
    '2',
    '--grad-accum',
    '2',
    ...length,
    '--val-fraction',
    '0.1',
    '--save-every',
    '2',
    '--lr',
    '1e-3',
    '--precision',
    'fp32',
    '--max-length',
    '512',
  ];
  const oneUpdate = ['--steps', '1'];
  const run = (...args: string[]) => spawnSync(process.execPath, [program, ...args], { encoding: 'utf8', timeout: 50_000 });

  /** Starts a run and resolves once its standard output matches. */
  function startUntil(pattern: RegExp, args: string[]): Promise<ChildProcess> {
    const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    return new Promise((resolve, reject) => {
      let output = '';
      const read = (chunk: Buffer) => {
        output += chunk.toString();
        if (pattern.test(output)) resolve(child);
      };
      child.stdout.on('data', read);
      child.stderr.on('data', read);
      child.on('exit', () => reject(new Error(`it ended before it said ${pattern}: ${output}`)));
    });
  }
  const ended = (child: ChildProcess) =>
    new Promise<number | NodeJS.Signals | null>((resolve) => child.on('exit', (code, signal) => resolve(code ?? signal)));

  const lines = (out: string) =>
    readFileSync(path(out, 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Line);
  /** What the run computed: everything but times. */
  const trace = (out: string) =>
    lines(out).map(({ step, epoch, lr, loss, grad_norm, labels, tokens, val_loss }) => ({
      step,
      epoch,
      lr,
      loss,
      grad_norm,
      labels,
      tokens,
      val_loss,
    }));

  function same(out: string): void {
    expect(trace(out)).to.deep.equal(trace('whole'));
    for (const name of readdirSync(path('whole', 'export'))) {
      if (name !== 'config.json')
        expect(Buffer.compare(readFileSync(path(out, 'export', name)), readFileSync(path('whole', 'export', name))), name).to.equal(0);
    }
    const optimizer = (folder: string) =>
      readFileSync(path(folder, readFileSync(path(folder, 'latest'), 'utf8').trim(), 'optimizer.safetensors'));
    expect(Buffer.compare(optimizer(out), optimizer('whole')), 'moments').to.equal(0);
  }

  it('runs to its end', () => {
    const { status, stderr, stdout } = run(...recipe('whole'));
    expect(status, stderr).to.equal(0);
    expect(stdout).to.include('done after step 10');
    expect(readdirSync(path('whole', 'checkpoints'))).to.deep.equal(['step-000008', 'step-000010']);
    expect(readdirSync(path('whole', 'checkpoints/step-000010'))).to.have.members(['adapter', 'optimizer.safetensors', 'state.json']);
    expect(readdirSync(path('whole', 'checkpoints/step-000010/adapter'))).to.have.members(readdirSync(path('whole', 'export')));
    expect(existsSync(path('whole', 'lock'))).to.equal(false);
    // Before the first update, and at every checkpoint.
    expect(
      lines('whole')
        .filter((line) => 'val_loss' in line)
        .map(({ step, val_samples }) => [step, val_samples]),
    ).to.deep.equal([0, 2, 4, 6, 8, 10].map((step) => [step, 2]));
  });

  for (const moment of ['step 1/10', 'step 5/10', 'step 9/10']) {
    it(`killed after ${moment}, it resumes to the same bits`, async () => {
      const out = `killed-${moment[5]}`;
      const child = await startUntil(new RegExp(moment), recipe(out));
      child.kill('SIGKILL');
      expect(await ended(child)).to.equal('SIGKILL');
      const { status, stderr } = run(...recipe(out), '--resume');
      expect(status, stderr).to.equal(0);
      same(out);
    });
  }

  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    it(`${signal} finishes the update, saves, exits with ${code}, and resumes to the same bits`, async () => {
      const child = await startUntil(/step 3\/10/, recipe(signal));
      child.kill(signal);
      expect(await ended(child)).to.equal(code);
      expect(existsSync(path(signal, 'export'))).to.equal(false);
      expect(run(...recipe(signal), '--resume').status).to.equal(0);
      // The checkpoint of the stop has no validation, the run that was not stopped has none there either, or the same.
      const steps = (out: string) => trace(out).filter(({ val_loss }) => val_loss === undefined);
      expect(steps(signal)).to.deep.equal(steps('whole'));
      expect(
        Buffer.compare(
          readFileSync(path(signal, 'export/adapter_model.safetensors')),
          readFileSync(path('whole', 'export/adapter_model.safetensors')),
        ),
      ).to.equal(0);
    });
  }

  it('resumes with the same options on the same data alone', () => {
    expect(run(...recipe('whole'), '--resume', '--lr', '1e-4').stderr).to.match(/found others: lr \(0.001 then, 0.0001 now\)/);
    const text = readFileSync(path('train.json'), 'utf8');
    writeFileSync(path('changed.json'), text);
    expect(run(...recipe('changing', path('changed.json'), oneUpdate)).status).to.equal(0);
    writeFileSync(path('changed.json'), text.replace('"gpt","value":"', '"gpt","value":"not '));
    expect(run(...recipe('changing', path('changed.json'), oneUpdate), '--resume').stderr).to.match(
      /expected the data that the run in .* was started with, found another/,
    );
  });

  it('a loss that is no number stops the run with the update named and the checkpoint kept', () => {
    const { status, stderr } = run(
      ...recipe('diverged').map((word) => (word === '1e-3' ? '1e30' : word)),
      '--val-fraction',
      '0',
      '--save-every',
      '1',
      '--warmup-ratio',
      '0',
    );
    expect(status).to.equal(1);
    expect(stderr).to.match(/^kuea-lora: step \d+: .*(the checkpoint of step \d+ is kept|there is no checkpoint yet)\n$/);
  });

  it('a full disk while saving: one sentence, the checkpoint before intact, and the run goes on when there is room', function () {
    const small = path('small');
    mkdirSync(small);
    const mounted = process.getuid?.() === 0 && spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', small]).status === 0;
    if (!mounted) {
      console.log('      skipped: mounting a small file system needs root');
      return this.skip();
    }
    try {
      const args = [...recipe(join('small', 'run')), '--keep-checkpoints', '9'];
      const { status, stderr } = run(...args);
      expect(status).to.equal(1);
      expect(stderr).to.match(/^kuea-lora: (step \d+: )?the disk is full while writing .*--resume.*\n$/);
      const saved = readdirSync(path('small/run/checkpoints'));
      expect(saved.length).to.be.within(1, 4);
      expect(
        saved.every((name) => /^step-\d{6}$/.test(name)),
        saved.join(),
      ).to.equal(true);
      expect(spawnSync('mount', ['-o', 'remount,size=50m', small]).status).to.equal(0);
      expect(run(...args, '--resume').status).to.equal(0);
      same(join('small', 'run'));
    } finally {
      spawnSync('umount', ['-l', small]);
    }
  });

  it('--dry-run makes nothing, and --json prints nothing but JSON', () => {
    const { status, stdout } = run(...recipe('dry'), '--dry-run', '--card-gib', '24');
    expect(status).to.equal(0);
    expect(stdout).to.match(
      /^model .*\n(.*\n)+batch +4 = 2 samples x 2 micro-batches x 1 rank(.*\n)+memory .* of 24.0 GiB: fits\n(.*\n)+run /,
    );
    expect(existsSync(path('dry'))).to.equal(false);
    const events = run(...recipe('json'), '--json')
      .stdout.trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { type: string }).type);
    expect([...new Set(events)]).to.deep.equal(['phase', 'start', 'validation', 'step', 'checkpoint', 'export', 'done']);
  });

  it('plans a 7B from its config.json alone', () => {
    mkdirSync(path('7b'));
    const config = {
      model_type: 'llava',
      hidden_size: 4096,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      intermediate_size: 11008,
      vocab_size: 32000,
      rms_norm_eps: 1e-5,
      mm_projector_type: 'mlp2x_gelu',
      mm_vision_select_layer: -2,
      mm_vision_tower: 'openai/clip-vit-large-patch14-336',
      image_aspect_ratio: 'pad',
    };
    writeFileSync(path('7b/config.json'), JSON.stringify(config));
    const { status, stdout, stderr } = run(
      '--model',
      path('7b'),
      '--data',
      'llava-665k',
      '--grad-accum',
      '128',
      '--out',
      path('dry-7b'),
      '--base-precision',
      'nf4',
      '--card-gib',
      '24',
      '--dry-run',
    );
    expect(status, stderr).to.equal(0);
    for (const line of [
      /^adapter .*448 tensors, 319,815,680 parameters$/m,
      /^trainable +340,795,392 parameters/m,
      /^samples +665,298 from llava-665k$/m,
      /^batch +128 = /m,
      /^steps +5,198 .* 156 of them warm-up$/m,
      /^memory .*: fits$/m,
      /^note .*none of them$/m,
    ]) {
      expect(stdout).to.match(line);
    }
  });

  describe('on bad input', () => {
    const records = () =>
      JSON.parse(readFileSync(path('train.json'), 'utf8')) as { image?: string; conversations: { from: string; value: string }[] }[];
    /** A copy of the data with its first records changed. */
    const spoilt = (name: string, change: (all: ReturnType<typeof records>) => void) => {
      const all = records();
      change(all);
      writeFileSync(path(name), JSON.stringify(all));
      return path(name);
    };
    const reasons = (out: string) =>
      readFileSync(path(out, 'preflight.jsonl'), 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { record: number; reason: string });

    it('missing images: one sentence and a list, and the folder free for another try; or left out', () => {
      const data = spoilt('missing.json', (all) => (all[3]!.image = 'images/none.jpg'));
      const { status, stderr } = run(...recipe('missing', data));
      expect(status).to.equal(1);
      expect(stderr).to.match(/^kuea-lora: expected 20 images below .*, found 1 that cannot be used, such as images\/none.jpg/);
      expect(stderr.trim().split('\n')).to.have.length(1);
      expect(reasons('missing').map(({ record }) => record)).to.deep.equal([3]);
      const again = run(...recipe('missing', data, oneUpdate), '--missing', 'skip');
      expect(again.status, again.stderr).to.equal(0);
      expect(again.stdout).to.match(/1 records left out, listed in .*preflight.jsonl/);
    });

    it('damaged images: found by --verify-images, left out and listed without it', () => {
      cpSync(path('images'), path('damaged'), { recursive: true });
      const data = spoilt('damaged.json', (all) => {
        for (const record of all) record.image = record.image!.replace('images/', 'damaged/');
      });
      const victim = path(records()[2]!.image!.replace('images/', 'damaged/'));
      writeFileSync(victim, readFileSync(victim).subarray(0, 300));
      expect(run(...recipe('verified', data), '--verify-images').stderr).to.match(/found 1 that cannot be used, such as damaged\//);
      const { status, stdout, stderr } = run(...recipe('undecodable', data), '--val-fraction', '0');
      expect(status, stderr).to.equal(0);
      expect(stdout).to.match(/1 undecodable images skipped/);
      expect(readFileSync(path('undecodable', 'skipped.jsonl'), 'utf8')).to.match(/^\{"index":2,"name":"record 2",.*\}\n$/);
    });

    it('conversations that cannot be used: listed, each with its reason', () => {
      const data = spoilt('odd.json', (all) => {
        all[0]!.conversations = [{ from: 'gpt', value: 'I begin.' }];
        all[1]!.conversations[1]!.value = 'An <image> here.';
        all[2]!.conversations = [
          { from: 'human', value: '<image>\nWhat?' },
          { from: 'gpt', value: '' },
        ];
        all[3]!.conversations = [];
      });
      const { status, stderr } = run(...recipe('odd', data, oneUpdate));
      expect(status, stderr).to.equal(0);
      expect(reasons('odd').map(({ record }) => record)).to.deep.equal([0, 1, 2, 3]);
      expect(reasons('odd')[1]!.reason).to.match(/<image> in an answer/);
    });

    const failures: [name: string, args: () => string[], code: number, message: RegExp][] = [
      ['no data', () => recipe('none', path('none.json')), 1, /expected llava-665k, a .json or .jsonl file .*, found nothing at/],
      [
        'data that is no JSON',
        () => {
          writeFileSync(path('text.json'), 'this is text');
          return recipe('none', path('text.json'));
        },
        1,
        /expected .*JSON/,
      ],
      ['a folder without config', () => recipe('none').with(1, path('images')), 1, /expected .*model.safetensors|config.json/],
      [
        'an encoder for a model',
        () => recipe('none').with(1, join(root, 'configs/demo/clip')),
        1,
        /expected a LLaVA in .*, found none of its tensors/,
      ],
      ['no adapter', () => [...recipe('none'), '--adapter', path('images')], 1, /expected adapter_config.json in/],
      [
        'an unknown option',
        () => [...recipe('none'), '--gradient-accum', '2'],
        2,
        /unknown option --gradient-accum: did you mean --grad-accum/,
      ],
      ['a missing option', () => ['--model', model, '--out', path('none')], 2, /data is missing/],
    ];
    for (const [name, args, code, message] of failures) {
      it(`${name}: one sentence, and no run`, () => {
        const { status, stderr } = run(...args());
        expect(stderr).to.match(message);
        expect(stderr.trim().split('\n')).to.have.length(1);
        expect(status).to.equal(code);
        expect(existsSync(path('none', 'config.yaml'))).to.equal(false);
      });
    }

    it('an adapter of another rank, of another base: refused', () => {
      expect(run(...recipe('none'), '--adapter', path('whole/export'), '--rank', '8').stderr).to.match(
        /expected rank 4, as the adapter .* has it, found 8/,
      );
      const other = path('other-base');
      cpSync(model, other, { recursive: true });
      const file = join(other, 'model.safetensors');
      const bytes = readFileSync(file);
      bytes.fill(1, bytes.length - 200_000);
      writeFileSync(file, bytes);
      const config = JSON.parse(readFileSync(join(other, 'config.json'), 'utf8')) as Record<string, unknown>;
      writeFileSync(join(other, 'config.json'), JSON.stringify({ ...config, mm_vision_tower: join(root, 'configs/demo/clip') }));
      expect(run(...recipe('none').with(1, other), '--adapter', path('whole/export')).stderr).to.match(
        /expected the language model that the adapter .* was trained on/,
      );
    });
  });
});
