import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

interface FakeFile {
  content: Buffer;
  /** As the list of files has it. */
  entry: Record<string, unknown>;
}

interface FakeRepository {
  commit: string;
  files: Map<string, FakeFile>;
}

/** What was asked for. */
export interface Asked {
  path: string;
  range: string | undefined;
  authorization: string | undefined;
}

type Answer = (request: IncomingMessage, response: ServerResponse, file: FakeFile | undefined) => void;

const hex = (algorithm: string, ...parts: (string | Buffer)[]) =>
  parts.reduce((hash, part) => hash.update(part), createHash(algorithm)).digest('hex');

/** A hub on this machine that answers as huggingface.co does, or as a test says. */
export class FakeHub {
  readonly asked: Asked[] = [];
  readonly repositories = new Map<string, FakeRepository>();
  private readonly scripts: { path: RegExp; answer: Answer; times: number }[] = [];
  private readonly server: Server;

  private constructor() {
    this.server = createServer((request, response) => this.answer(request, response));
  }

  static async start(): Promise<FakeHub> {
    const hub = new FakeHub();
    await new Promise<void>((resolve) => hub.server.listen(0, '127.0.0.1', resolve));
    return hub;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  close(): Promise<void> {
    this.server.closeAllConnections();
    return new Promise((resolve) => this.server.close(() => resolve()));
  }

  /** A new commit of a repository, `datasets/owner/name` for one of data. Weights are kept in LFS, as the hub keeps them. */
  commit(name: string, files: Record<string, string | Buffer>): string {
    const made = Object.entries(files).map(([path, text]): [string, FakeFile] => {
      const content = Buffer.from(text);
      const entry = { type: 'file', path, size: content.length, oid: hex('sha1', `blob ${content.length}\0`, content) };
      const lfs = /\.(safetensors|bin)$/.test(path) ? { lfs: { oid: hex('sha256', content), size: content.length, pointerSize: 130 } } : {};
      return [path, { content, entry: { ...entry, ...lfs } }];
    });
    const commit = hex('sha1', name, JSON.stringify(made.map(([, { entry }]) => entry)));
    this.repositories.set(name, { commit, files: new Map(made) });
    return commit;
  }

  /** Says how requests are answered whose address matches: the first `times` of them. */
  script(path: RegExp, answer: Answer, times = Number.POSITIVE_INFINITY): void {
    this.scripts.push({ path, answer, times });
  }

  /** Forgets what was scripted and asked. */
  reset(): void {
    this.scripts.length = 0;
    this.asked.length = 0;
  }

  /** How often the bytes of each file were asked for. */
  downloads(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { path } of this.asked) {
      const file = path.match(/^\/(.*)\/resolve\/[^/]+\/(.*)$/);
      if (file) counts[`${file[1]}/${file[2]}`] = (counts[`${file[1]}/${file[2]}`] ?? 0) + 1;
    }
    return counts;
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    const path = request.url!;
    this.asked.push({ path, range: request.headers.range, authorization: request.headers.authorization });
    const [, name = '', what = '', rest = ''] =
      path.match(/^\/(?:api\/(?:models\/)?)?(.*?)\/(revision|tree|resolve)\/[^/?]+(?:\/([^?]*))?/) ?? [];
    const repository = this.repositories.get(name);
    const file = repository?.files.get(decodeURIComponent(rest));
    const script = this.scripts.find(({ path: pattern, times }) => times > 0 && pattern.test(path));
    if (script) {
      script.times--;
      script.answer(request, response, file);
    } else if (!repository || (what === 'resolve' && !file)) {
      response.writeHead(404, { 'X-Error-Code': repository ? 'EntryNotFound' : 'RepoNotFound' }).end();
    } else if (what === 'resolve') {
      sendFile(request, response, file);
    } else {
      const { commit, files } = repository;
      const listed = [...files].filter(([own]) => !own.includes('/') || path.includes('recursive=true')).map(([, { entry }]) => entry);
      sendJson(response, what === 'tree' ? listed : { _id: name, id: name, sha: commit });
    }
  }
}

export function sendJson(response: ServerResponse, value: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(200, { 'Content-Type': 'application/json', ...headers }).end(JSON.stringify(value));
}

/** A file, or the rest of it from where the request says. */
export const sendFile: Answer = (request, response, file) => {
  const { content } = file!;
  const start = Number(request.headers.range?.match(/^bytes=(\d+)-$/)?.[1] ?? 0);
  const range = { 'Content-Range': `bytes ${start}-${content.length - 1}/${content.length}` };
  response.writeHead(start > 0 ? 206 : 200, { 'Content-Length': content.length - start, ...(start > 0 ? range : {}) });
  response.end(content.subarray(start));
};

/** Promises the rest of a file, sends `bytes` of it, and cuts the connection. */
export const cutAfter =
  (bytes: number): Answer =>
  (request, response, file) => {
    const { content } = file!;
    const start = Number(request.headers.range?.match(/^bytes=(\d+)-$/)?.[1] ?? 0);
    const range = { 'Content-Range': `bytes ${start}-${content.length - 1}/${content.length}` };
    response.writeHead(start > 0 ? 206 : 200, { 'Content-Length': content.length - start, ...(start > 0 ? range : {}) });
    // Time to take what came: fetch forgets what nobody has read when the connection ends.
    response.write(content.subarray(start, start + bytes), () => setTimeout(() => response.destroy(), 50));
  };

/** All bytes given, whatever was asked for, and no word of how many. */
export const sendChunked =
  (bytes: Buffer): Answer =>
  (_, response) => {
    response.writeHead(200).end(bytes);
  };

export const refuse =
  (status: number, headers: Record<string, string> = {}): Answer =>
  (_, response) => {
    response.writeHead(status, headers).end();
  };
