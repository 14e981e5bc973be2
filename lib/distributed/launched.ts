/** What a rank tells its launcher. */
export type RankMessage =
  /** It lives, and is at this step (0 before the first). */
  | { type: 'beat'; step: number }
  /** Its error; `usage` when the command line was wrong. */
  | { type: 'failed'; code: string; message: string; usage: boolean }
  /** Another rank has given no sign of life, perhaps on another machine. */
  | { type: 'lost'; rank: number };

/** Set for the processes that `launch` starts. */
export const launchedVariable = 'KUEA_LAUNCHED';

/** Whether `launch` started this process. */
export const launched = process.env[launchedVariable] === '1' && process.send !== undefined;

let step = 0;
export const currentStep = () => step;

/** Resolves once the message is on its way; the launcher may have gone. */
function tell(message: RankMessage): Promise<void> {
  return new Promise((resolve) => {
    if (!process.connected) return resolve();
    process.send!(message, undefined, undefined, () => resolve());
  });
}

const beat = () => void tell({ type: 'beat', step });

/** Update `current`, from 1, begins. */
export function atStep(current: number): void {
  step = current;
  if (launched) beat();
}

/** Ends this process at once, whatever its threads wait for: an exit would wait for them. */
export function die(): never {
  process.kill(process.pid, 'SIGKILL');
  throw new Error('unreachable');
}

/**
 * Begins to tell the launcher every second that this rank lives, and dies with it: a rank without its launcher would hold a GPU that nobody
 * knows of.
 */
export function beginBeats(): void {
  if (!launched) return;
  if (!process.connected) die();
  process.on('disconnect', die);
  // Neither keeps a rank alive that has nothing more to do.
  process.channel?.unref();
  beat();
  setInterval(beat, 1000).unref();
}

/** Leaves it to the launcher, which hears all ranks, to print one line for all of them. */
export const tellFailure = (code: string, message: string, usage: boolean) => tell({ type: 'failed', code, message, usage });

export const tellLost = (rank: number) => tell({ type: 'lost', rank });
