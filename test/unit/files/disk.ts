import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import fs, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { basename, dirname, join, relative } from 'node:path';

/** What a program asked of the disk, in order. Files and folders have numbers, 0 being the root. */
type Op =
  | { kind: 'entry'; folder: number; name: string; node: number; content: string | null }
  | { kind: 'rename'; fromFolder: number; fromName: string; folder: number; name: string; node: number }
  | { kind: 'unlink'; folder: number; name: string }
  | { kind: 'write'; node: number; content: string }
  | { kind: 'sync'; node: number }
  /** A promise that the program made: what it had done by then must survive. */
  | { kind: 'mark'; what: string };

/** A folder is its entries, a file its content. */
export type Tree = { [name: string]: Tree | string };

type Patched = 'open' | 'mkdir' | 'mkdtemp' | 'rename' | 'rm' | 'writeFile';

/**
 * Records what goes to the disk below `root` through node:fs/promises, and tells in what states a power cut may leave it: whatever was not
 * synced before it (a file's bytes by itself, an entry by its folder) is there or not, each by itself and in any order; a file may be cut.
 */
export class Disk {
  private readonly ops: Op[] = [];
  private readonly numbers = new Map<string, number>([['', 0]]);
  private count = 1;
  private readonly originals = { ...fs };

  constructor(private readonly root: string) {
    const { open, mkdir, mkdtemp, rename, rm, writeFile } = this.originals;
    const patch = <Name extends Patched>(name: Name, replacement: unknown) => Object.assign(fs, { [name]: replacement });
    patch('mkdir', async (path: string) => {
      await mkdir(path);
      this.made(path);
    });
    patch('mkdtemp', async (prefix: string) => {
      const path = await mkdtemp(prefix);
      this.made(path);
      return path;
    });
    patch('rename', async (from: string, to: string) => {
      await rename(from, to);
      this.renamed(from, to);
    });
    patch('rm', async (path: string, options: object) => {
      this.removing(path);
      await rm(path, options);
    });
    patch('writeFile', async (path: string, content: string) => {
      await writeFile(path, content);
      this.written(path);
    });
    patch('open', async (path: string, flags?: string) => {
      const handle = await open(path, flags);
      if (flags && flags !== 'r') this.written(path);
      return this.recorded(handle, path);
    });
    syncBuiltinESMExports();
  }

  /** Gives node:fs/promises back. */
  end(): void {
    Object.assign(fs, this.originals);
    syncBuiltinESMExports();
  }

  mark(what: string): void {
    this.ops.push({ kind: 'mark', what });
  }

  /** The states after a cut at any moment, each once, with what had been marked by then; `perMoment` of a moment at most. */
  *states(perMoment: number): Generator<{ tree: Tree; marks: string[] }> {
    const seen = new Set<string>();
    let random = 1;
    const draw = () => (random = (random * 48271) % 2147483647) / 2147483647;
    for (let end = 1; end <= this.ops.length; end++) {
      const done = this.ops.slice(0, end);
      const isPending = done.map((op, i) => !this.isDurable(op, done.slice(i + 1)));
      const marks = done.flatMap((op) => (op.kind === 'mark' ? [op.what] : []));
      const pending = isPending.filter(Boolean).length;
      const all = 2 ** pending;
      for (let n = 0; n < Math.min(all, perMoment); n++) {
        // Of few, every choice; of many, none kept, all kept, and any.
        let left = all <= perMoment ? n : n === 0 ? 0 : n === 1 ? all - 1 : Math.floor(draw() * all);
        const kept = isPending.map((is) => {
          if (!is) return true;
          const keep = left % 2 === 1;
          left = Math.floor(left / 2);
          return keep;
        });
        const tree = replay(done, kept, () => draw() < 0.5);
        const key = JSON.stringify([tree, marks]);
        if (!seen.has(key)) yield { tree, marks };
        seen.add(key);
      }
    }
  }

  private isDurable(op: Op, later: Op[]): boolean {
    if (op.kind === 'sync' || op.kind === 'mark') return true;
    const node = op.kind === 'write' ? op.node : op.folder;
    return later.some((other) => other.kind === 'sync' && other.node === node);
  }

  private key(path: string): string {
    return relative(this.root, path);
  }

  private number(path: string): number {
    const number = this.numbers.get(this.key(path));
    if (number === undefined) throw new Error(`${path} was not made through node:fs/promises`);
    return number;
  }

  private place(path: string): { folder: number; name: string } {
    return { folder: this.number(dirname(path)), name: basename(path) };
  }

  private made(path: string): void {
    this.numbers.set(this.key(path), this.count);
    this.ops.push({ kind: 'entry', ...this.place(path), node: this.count++, content: null });
  }

  private written(path: string): void {
    if (!this.numbers.has(this.key(path))) {
      this.numbers.set(this.key(path), this.count);
      this.ops.push({ kind: 'entry', ...this.place(path), node: this.count++, content: '' });
    }
    this.ops.push({ kind: 'write', node: this.number(path), content: readFileSync(path, 'latin1') });
  }

  private renamed(from: string, to: string): void {
    const [before, after] = [this.place(from), this.place(to)];
    this.ops.push({ kind: 'rename', fromFolder: before.folder, fromName: before.name, ...after, node: this.number(from) });
    const [old, now] = [this.key(from), this.key(to)];
    for (const key of [...this.numbers.keys()].filter((other) => other === now || other.startsWith(`${now}/`))) this.numbers.delete(key);
    for (const [key, number] of [...this.numbers].filter(([other]) => other === old || other.startsWith(`${old}/`))) {
      this.numbers.delete(key);
      this.numbers.set(now + key.slice(old.length), number);
    }
  }

  private removing(path: string): void {
    if (!this.numbers.has(this.key(path))) return;
    if (lstatSync(path).isDirectory()) for (const name of readdirSync(path)) this.removing(join(path, name));
    this.ops.push({ kind: 'unlink', ...this.place(path) });
    this.numbers.delete(this.key(path));
  }

  private recorded(handle: FileHandle, path: string): FileHandle {
    const { sync, writeFile, appendFile } = handle;
    // Renamed while it is open, it keeps its number.
    const node = this.numbers.get(this.key(path));
    if (node === undefined) return handle;
    return Object.assign(handle, {
      sync: async () => {
        await sync.call(handle);
        this.ops.push({ kind: 'sync', node });
      },
      writeFile: async (content: string) => {
        await writeFile.call(handle, content);
        this.written(path);
      },
      appendFile: async (content: string) => {
        await appendFile.call(handle, content);
        this.written(path);
      },
    });
  }
}

/** The tree that the kept ones of some operations make. */
function replay(ops: Op[], kept: boolean[], isCut: () => boolean): Tree {
  const folders = new Map<number, Map<string, number>>([[0, new Map()]]);
  const files = new Map<number, string>();
  const entries = (folder: number) => folders.get(folder) ?? new Map<string, number>();
  ops.forEach((op, i) => {
    if (op.kind === 'entry') {
      // The thing itself is made with it: what comes later may move it to where it can be reached.
      if (op.content === null) folders.set(op.node, new Map());
      else files.set(op.node, op.content);
      if (kept[i]) entries(op.folder).set(op.name, op.node);
    } else if (op.kind === 'write') {
      if (kept[i]) files.set(op.node, op.content);
      else if (isCut()) files.set(op.node, cut(files.get(op.node)!, op.content));
    } else if (op.kind === 'unlink' && kept[i]) {
      entries(op.folder).delete(op.name);
    } else if (op.kind === 'rename' && kept[i]) {
      entries(op.fromFolder).delete(op.fromName);
      entries(op.folder).set(op.name, op.node);
    }
  });
  const grow = (folder: number): Tree =>
    Object.fromEntries(
      [...entries(folder)].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, node]) => [name, files.get(node) ?? grow(node)]),
    );
  return grow(0);
}

/** A write of which half was done; what was there before an appended line stays. */
function cut(before: string, content: string): string {
  const start = content.startsWith(before) ? before.length : 0;
  return content.slice(0, (start + content.length) >> 1);
}

/** Writes a state to a real folder. */
export function plant(tree: Tree, folder: string): void {
  mkdirSync(folder, { recursive: true });
  for (const [name, node] of Object.entries(tree)) {
    if (typeof node === 'string') writeFileSync(join(folder, name), node, 'latin1');
    else plant(node, join(folder, name));
  }
}
