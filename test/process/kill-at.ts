import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

/** Loaded before a program (node --import): kills it just before it gives something a name that matches KUEA_TEST_KILL_AT. */
const pattern = new RegExp(process.env['KUEA_TEST_KILL_AT']!);
const { rename } = fs;
fs.rename = (from, to) => {
  if (pattern.test(String(to))) process.kill(process.pid, 'SIGKILL');
  return rename(from, to);
};
syncBuiltinESMExports();
