/**
 * Runs `work` with a signal that Ctrl-C (exit code 130) and SIGTERM (143) abort; a second one ends the process at once. `work` resolves to whether it was
 * interrupted, which sets the exit code.
 */
export async function interruptible(quiet: boolean, work: (signal: AbortSignal) => Promise<boolean>): Promise<void> {
  const controller = new AbortController();
  let code = 0;
  const stop = (signal: NodeJS.Signals, exitCode: number) => {
    if (controller.signal.aborted) process.exit(exitCode);
    code = exitCode;
    if (!quiet) console.error(`\n${signal}: finishing this step and saving; once more to stop at once`);
    controller.abort();
  };
  const onInterrupt = () => stop('SIGINT', 130);
  const onTerminate = () => stop('SIGTERM', 143);
  process.on('SIGINT', onInterrupt);
  process.on('SIGTERM', onTerminate);
  try {
    if (await work(controller.signal)) process.exitCode = code;
  } finally {
    process.off('SIGINT', onInterrupt);
    process.off('SIGTERM', onTerminate);
  }
}
