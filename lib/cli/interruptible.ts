import type { Ranks } from '../distributed/ranks.js';
import { output } from './output.js';

/** What asks a program to stop: Ctrl-C, a scheduler, a terminal that was closed. Exit codes are 128 and the signal's number. */
const exitCodes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;
type Stop = keyof typeof exitCodes;

/**
 * Runs `work` with a signal that Ctrl-C, SIGTERM and SIGHUP abort; a second one ends the process at once, but for one of several ranks:
 * whoever started these says what it means. `work` resolves to whether it was interrupted. Resolves to the exit code: 0, 130 (Ctrl-C), 143
 * or 129.
 */
export async function interruptible(
  { quiet, ranks }: { quiet: boolean; ranks: Ranks },
  work: (signal: AbortSignal) => Promise<boolean>,
): Promise<number> {
  const controller = new AbortController();
  // Another rank's signal stops this one too.
  let code: number = exitCodes.SIGTERM;
  const unlisten = () => {
    for (const name of Object.keys(exitCodes)) process.off(name, stop);
  };
  const stop = (signal: NodeJS.Signals) => {
    code = exitCodes[signal as Stop];
    if (ranks.group) return controller.abort();
    if (controller.signal.aborted) {
      // Should even an exit have to wait for something, a third signal is the kernel's.
      unlisten();
      process.exit(code);
    }
    if (!quiet) output.note(`${signal}: finishing this step and saving; once more to stop at once`);
    controller.abort();
  };
  for (const name of Object.keys(exitCodes)) process.on(name, stop);
  try {
    return (await work(controller.signal)) ? code : 0;
  } finally {
    unlisten();
  }
}
