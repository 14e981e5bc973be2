import { type Command, CommanderError } from 'commander';

import { beginBeats, launched, tellFailure } from '../distributed/launched.js';
import { KueaError } from '../errors.js';

/** Commander's exits become exceptions, in a command and all below it. */
function catchExits(command: Command): void {
  command.exitOverride().configureOutput({ outputError: () => {} });
  for (const child of command.commands) catchExits(child);
}

/**
 * Runs a program on the command line's words. A failure is one line on stderr and exit code 1, or 2 when the words themselves were wrong;
 * KUEA_DEBUG=1 adds the stack.
 */
export async function runCli(program: Command): Promise<void> {
  // `kuea-align ... | head` closes our output early: that is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  catchExits(program);
  beginBeats();
  try {
    await program.parseAsync();
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return;
    const usage =
      error instanceof CommanderError ||
      (error instanceof KueaError && ['unknown_option', 'missing_option', 'bad_option', 'unknown_preset'].includes(error.code));
    const message = (error as Error).message.replace(/^error: /, '');
    if (process.env['KUEA_DEBUG'] === '1') console.error(error);
    if (launched) await tellFailure(error instanceof KueaError ? error.code : 'internal', message, usage);
    else console.error(`${program.name()}: ${message}${usage ? ' (see --help)' : ''}`);
    process.exitCode = usage ? 2 : 1;
  }
}
