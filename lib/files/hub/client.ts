import { datasetInfo, listFiles, modelInfo } from '@huggingface/hub';
import { z } from 'zod';

import { KueaError } from '../../errors.js';
import type { HubSettings } from './settings.js';

/** A repository at a revision: `owner/name[@revision]`. */
export interface HubRepository {
  type: 'model' | 'dataset';
  name: string;
  revision: string;
}

/** A file as a commit has it. */
export interface HubFile {
  path: string;
  /** Bytes. */
  size: number;
  /** Hex: SHA-256 of the content (64 digits, what is in LFS), or git's SHA-1 of a blob (40 digits). */
  oid: string;
}

/** Milliseconds without a byte after which a connection counts as lost. */
const patience = 30_000;
/** Bytes of an answer that is no file. */
const answerLimit = 32 * 2 ** 20;
/** Pages of a listing. */
const pageLimit = 100;

/** A name in no folder. Names become paths. */
const plainName = /^(?!\.+$)[^/\\\0]+$/;
/** A path below a repository's folder, which it does not leave. */
const isPath = (path: string): boolean => path.split('/').every((name) => plainName.test(name));
const commitSchema = z.string().regex(/^[0-9a-f]{40}$/);
// Ids become names of files: nothing but hex may pass.
const entrySchema = z.object({
  path: z.string(),
  size: z.int().nonnegative(),
  oid: z.string().regex(/^[0-9a-f]{40}$/),
  lfs: z.object({ oid: z.string().regex(/^[0-9a-f]{64}$/), size: z.int().nonnegative() }).nullish(),
});

const fileSchema = z.object({
  path: z.string().refine(isPath),
  size: z.int().nonnegative(),
  oid: z.string().regex(/^([0-9a-f]{40}|[0-9a-f]{64})$/),
});

/** Files out of JSON that was kept; null when it is damaged. */
export function storedFiles(text: string): HubFile[] | null {
  try {
    return z.array(fileSchema).parse(JSON.parse(text));
  } catch {
    return null;
  }
}

export const isCommit = (text: string): boolean => commitSchema.safeParse(text).success;

/** The hub as one repository is asked of it. All that it throws is a KueaError, or the signal's reason. */
export class HubClient {
  private readonly origin: string;

  constructor(
    private readonly settings: HubSettings,
    private readonly repository: HubRepository,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.origin = new URL(settings.endpoint).origin;
  }

  /** The commit that the revision names now. */
  async commit(): Promise<string> {
    const { type, name, revision } = this.repository;
    const info = { ...this.library('the commit'), name, revision, additionalFields: ['sha' as const] };
    const { sha } = await this.understood('the commit', () => (type === 'model' ? modelInfo(info) : datasetInfo(info)));
    if (!isCommit(sha)) throw this.corrupt('the commit', `expected 40 hex digits, found ${JSON.stringify(sha)?.slice(0, 80)}`);
    return sha;
  }

  /** The files of a commit: a model's that lie in no folder, and all of a dataset, whose splits are folders. */
  async files(commit: string): Promise<HubFile[]> {
    const { type, name } = this.repository;
    const wanted = { repo: { type, name }, revision: commit, recursive: type === 'dataset' };
    const files: HubFile[] = [];
    await this.understood('the list of files', async () => {
      for await (const entry of listFiles({ ...this.library('the list of files'), ...wanted })) {
        if (entry.type !== 'file') continue;
        const { path, size, oid, lfs } = entrySchema.parse(entry);
        if (type === 'dataset' ? isPath(path) : plainName.test(path)) files.push({ path, size: lfs?.size ?? size, oid: lfs?.oid ?? oid });
      }
    });
    return files;
  }

  /** Asks for a file's bytes from `start` on and hands the answer to `use`; the hub may answer with all of them (status 200). */
  read<T>(
    commit: string,
    path: string,
    start: number,
    use: (answer: Response, bytes: AsyncIterable<Uint8Array>) => Promise<T>,
  ): Promise<T> {
    const { type, name } = this.repository;
    const place = path.split('/').map(encodeURIComponent).join('/');
    const url = `${this.settings.endpoint}/${type === 'model' ? '' : 'datasets/'}${name}/resolve/${commit}/${place}`;
    const headers = { 'Accept-Encoding': 'identity', ...(start > 0 ? { Range: `bytes=${start}-` } : {}) };
    return this.ask(path, url, { headers }, use);
  }

  corrupt(what: string, found: string, cause?: unknown): KueaError {
    return new KueaError(
      'hub_corrupt',
      `${what} of ${this.name()} does not come from ${this.origin} as it should: ${found}; try again, or set HF_ENDPOINT to another hub`,
      { cause },
    );
  }

  /** What the library is given: no token, which our fetch adds, since the library would send it wherever a header points. */
  private library(what: string) {
    let pages = 0;
    const fetch = (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
      if (++pages > pageLimit) throw this.corrupt(what, `it has more than ${pageLimit} pages`);
      const url = input instanceof Request ? input.url : String(input);
      return this.ask(what, url, init ?? {}, async ({ status, headers }, bytes) => {
        const chunks: Uint8Array[] = [];
        let length = 0;
        for await (const chunk of bytes) {
          chunks.push(chunk);
          length += chunk.length;
          if (length > answerLimit) throw this.corrupt(what, `it has more than ${answerLimit} bytes`);
        }
        return new Response(Buffer.concat(chunks), { status, headers });
      });
    };
    return { hubUrl: this.settings.endpoint, fetch };
  }

  /** Anything but our own errors is an answer that the library could not read. */
  private async understood<T>(what: string, f: () => Promise<T>): Promise<T> {
    try {
      return await f();
    } catch (error) {
      if (error instanceof KueaError || this.signal?.aborted) throw error;
      throw this.corrupt(what, 'the answer is not that of a hub', error);
    }
  }

  /** One request. The token goes to the hub alone: fetch drops it where a redirect leaves the origin. */
  private async ask<T>(
    what: string,
    url: string,
    init: RequestInit,
    use: (answer: Response, bytes: AsyncIterable<Uint8Array>) => Promise<T>,
  ): Promise<T> {
    this.signal?.throwIfAborted();
    const headers = new Headers(init.headers);
    headers.delete('Authorization');
    if (this.settings.token && URL.canParse(url) && new URL(url).origin === this.origin)
      headers.set('Authorization', `Bearer ${this.settings.token}`);
    const silence = new AbortController();
    const timer = setTimeout(() => silence.abort(new Error(`it said nothing for ${patience / 1000} s`)), patience);
    const signal = this.signal ? AbortSignal.any([this.signal, silence.signal]) : silence.signal;
    const lost = (error: unknown) => (this.signal?.aborted ? this.signal.reason : this.unreachable(what, reason(error), error));
    try {
      const answer = await fetch(url, { ...init, headers, signal }).catch((error: unknown) => {
        throw lost(error);
      });
      if (!answer.ok) {
        await answer.body?.cancel().catch(() => {});
        throw this.refused(what, answer);
      }
      return await use(answer, heard(answer, timer, lost));
    } finally {
      clearTimeout(timer);
      // Ends the connection where the answer was not read to its end.
      silence.abort();
    }
  }

  private refused(what: string, { status, headers }: Response): KueaError {
    const { token, endpoint } = this.settings;
    const why = headers.get('X-Error-Code') ?? '';
    // The hub answers 401 for what it has not, or does not show.
    if (status === 404 || /^(Repo|Revision|Entry)NotFound$/.test(why))
      return new KueaError(
        'hub_not_found',
        `expected a local path or a ${this.repository.type} on the hub, found neither for ${this.name()}: check the name` +
          `${token ? '' : ', or set HF_TOKEN if it is private'}`,
      );
    if (status === 401 || status === 403)
      return new KueaError(
        'hub_denied',
        `the hub refuses ${what} of ${this.name()} (${status}): accept its licence at ${endpoint}/` +
          `${this.repository.type === 'model' ? '' : 'datasets/'}${this.repository.name}, and ` +
          `${token ? 'use a token of that account that may read it' : 'set HF_TOKEN to a token of that account'}`,
      );
    return this.unreachable(what, `status ${status}`);
  }

  private unreachable(what: string, why: string, cause?: unknown): KueaError {
    return new KueaError(
      'hub_unreachable',
      `cannot fetch ${what} of ${this.name()} from ${this.origin} (${why}): give a local folder, or set HF_ENDPOINT to a mirror`,
      { cause },
    );
  }

  private name(): string {
    const { name, revision } = this.repository;
    return revision === 'main' ? name : `${name}@${revision}`;
  }
}

/** What fetch met, without addresses, which may be signed: it says "fetch failed" and keeps the reason as the cause. */
function reason(error: unknown): string {
  const { cause, message } = error as Error & { cause?: { code?: string } };
  return cause?.code ?? message.split('\n')[0]!;
}

async function* heard(answer: Response, timer: NodeJS.Timeout, lost: (error: unknown) => unknown): AsyncGenerator<Uint8Array> {
  const reader = answer.body?.getReader();
  for (;;) {
    const next = await reader?.read().catch((error: unknown) => {
      throw lost(error);
    });
    if (!next || next.done) return;
    timer.refresh();
    yield next.value;
  }
}
