import { packageVersion } from '../native/load.js';
import { alignCommand } from './align-command.js';
import { runCli } from './run-cli.js';

await runCli(alignCommand('kuea-align').version(packageVersion()));
