import { inspect } from 'node:util';

import { type Command, CommanderError } from 'commander';

import { beginBeats, launched, tellFailure } from '../distributed/launched.js';
import { KueaError } from '../errors.js';
import { printableLines } from '../text/printable.js';
import { type Failure, tellFailed } from './failure.js';
import { surviveLostStreams } from './output.js';

/** Commander's exits become exceptions, in a command and all below it. */
function catchExits(command: Command): void {
  command.exitOverride().configureOutput({ outputError: () => {} });
  for (const child of command.commands) catchExits(child);
}

function failureOf(error: unknown): Failure {
  const usage =
    error instanceof CommanderError ||
    (error instanceof KueaError && ['unknown_option', 'missing_option', 'bad_option', 'unknown_preset'].includes(error.code));
  const code = error instanceof KueaError ? error.code : error instanceof CommanderError ? 'bad_option' : 'internal';
  const message = error instanceof Error ? error.message : String(error);
  return { code, message: message.replace(/^error: /, ''), usage };
}

/**
 * Runs a program on the command line's words. A failure is one line (JSON with --json) and exit code 1, or 2 when the words themselves were
 * wrong; KUEA_DEBUG=1 adds the stack.
 */
export async function runCli(program: Command): Promise<void> {
  surviveLostStreams();
  catchExits(program);
  beginBeats();
  try {
    await program.parseAsync();
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return;
    const failure = failureOf(error);
    if (process.env['KUEA_DEBUG'] === '1') process.stderr.write(`${printableLines(inspect(error))}\n`);
    if (launched) await tellFailure(failure.code, failure.message, failure.usage);
    else tellFailed(program.name(), failure, process.argv.includes('--json'));
    process.exitCode = failure.usage ? 2 : 1;
  }
}
