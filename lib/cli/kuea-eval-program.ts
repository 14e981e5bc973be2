import { packageVersion } from '../package.js';
import { evalCommand } from './eval-command.js';
import { runCli } from './run-cli.js';

await runCli(evalCommand('kuea-eval').version(packageVersion()));
