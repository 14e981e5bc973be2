/**
 * What our own programs set for their whole process, and the package leaves alone in the process of a host. First of all: libuv's pool,
 * which decodes images, gets a thread a core before anything starts it. Node's default is 4, and an ES module's loading already uses the
 * pool, which is why the programs start as CommonJS.
 */
import { availableParallelism } from 'node:os';

process.env['UV_THREADPOOL_SIZE'] ??= String(Math.max(4, availableParallelism()));

import sharp = require('sharp');

// Parallelism comes from many images at a time, each on one thread of the pool; a cache of decoded operations would only hold memory.
sharp.cache(false);
sharp.concurrency(1);
