/** `node cut-short.js MODEL`: opens a LLaVA, cuts its weights short, and computes with them. */
import { truncateSync } from 'node:fs';

import { openLlava } from '../../lib/models/llava/open.js';
import { llavaSpec, Trainer } from '../native/llava-support.js';

const { weights } = (await openLlava(process.argv[2]!)).model;
const trainer = await Trainer.open({}, { ...(await llavaSpec()), weights, basePrecision: 'bf16', precision: 'bf16' });
for (const file of new Set(weights.map(({ source }) => source.file))) truncateSync(file, 0);
await trainer.update([[0]]);
