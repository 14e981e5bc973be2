/**
 * Gives libuv's pool, which decodes images, a thread a core before anything starts it: Node's default is 4, and an ES module's loading
 * already uses the pool, which is why the programs start as CommonJS.
 */
import { availableParallelism } from 'node:os';

process.env['UV_THREADPOOL_SIZE'] ??= String(Math.max(4, availableParallelism()));
