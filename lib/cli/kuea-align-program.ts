import { packageVersion } from '../package.js';
import { alignCommand } from './align-command.js';
import { runCli } from './run-cli.js';

await runCli(alignCommand('kuea-align').version(packageVersion()));
