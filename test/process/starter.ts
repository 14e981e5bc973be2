import { oneRank } from '../../lib/distributed/ranks.js';
import type { KueaError } from '../../lib/errors.js';
import { RunFolder } from '../../lib/run/run-folder.js';

/** A process that opens the run's folders it is sent, and closes each when it is sent ''; it answers with a code, `open` or `closed`. */
let folder: RunFolder | null = null;

process.on('message', (out: string) => {
  const answer = async () => {
    if (out === '') {
      await folder?.close();
      folder = null;
      return 'closed';
    }
    folder = await RunFolder.open({ out, resume: true }, ['out', 'resume'], oneRank);
    return 'open';
  };
  answer().then(
    (said) => process.send!(said),
    ({ code, message }: KueaError) => process.send!(code ?? message),
  );
});
process.on('disconnect', () => process.exit());
process.send!('ready');
