import type { Ranks } from '../distributed/ranks.js';

/**
 * Runs `work` with a signal that Ctrl-C and SIGTERM abort; a second one ends the process at once, but for one of several ranks: whoever
 * started these says what it means. `work` resolves to whether it was interrupted. Resolves to the exit code: 0, 130 (Ctrl-C) or 143.
 */
export async function interruptible(
  { quiet, ranks }: { quiet: boolean; ranks: Ranks },
  work: (signal: AbortSignal) => Promise<boolean>,
): Promise<number> {
  const controller = new AbortController();
  // Another rank's signal stops this one too.
  let code = 143;
  const stop = (signal: NodeJS.Signals, exitCode: number) => {
    code = exitCode;
    if (ranks.group) return controller.abort();
    if (controller.signal.aborted) process.exit(exitCode);
    if (!quiet) console.error(`\n${signal}: finishing this step and saving; once more to stop at once`);
    controller.abort();
  };
  const onInterrupt = () => stop('SIGINT', 130);
  const onTerminate = () => stop('SIGTERM', 143);
  process.on('SIGINT', onInterrupt);
  process.on('SIGTERM', onTerminate);
  try {
    return (await work(controller.signal)) ? code : 0;
  } finally {
    process.off('SIGINT', onInterrupt);
    process.off('SIGTERM', onTerminate);
  }
}
