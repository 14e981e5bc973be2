import type { Ranks } from './ranks.js';

/** When the training loop is to stop. */
export interface AgreedStop {
  signal: AbortSignal | undefined;
  /** To be called after every update, on every rank. */
  afterStep(): void;
  end(): void;
}

/**
 * A signal for the loop: the caller's, or with several ranks one that is aborted on all of them after the same update once any rank's
 * caller has asked.
 */
export function agreedStop({ group }: Ranks, signal: AbortSignal | undefined): AgreedStop {
  if (!group) return { signal, afterStep: () => {}, end: () => {} };
  const controller = new AbortController();
  const ask = () => group.requestStop();
  if (signal?.aborted) ask();
  signal?.addEventListener('abort', ask);
  return {
    signal: controller.signal,
    afterStep: () => group.stopRequested() && controller.abort(),
    end: () => signal?.removeEventListener('abort', ask),
  };
}
