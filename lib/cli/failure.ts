import { output } from './output.js';

/** Why a program failed; `usage` when its command line was wrong. */
export interface Failure {
  code: string;
  message: string;
  usage: boolean;
}

/** One line on stderr, or with --json one on stdout, like every event. */
export function tellFailed(program: string, { code, message, usage }: Failure, json: boolean): void {
  if (json) output.json({ type: 'error', code, message });
  else output.note(`${program}: ${message}${usage ? ' (see --help)' : ''}`);
}
