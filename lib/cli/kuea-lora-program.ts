import { packageVersion } from '../package.js';
import { loraCommand } from './lora-command.js';
import { runCli } from './run-cli.js';

await runCli(loraCommand('kuea-lora').version(packageVersion()));
