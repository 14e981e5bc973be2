import { Command } from 'commander';

import { packageVersion } from '../package.js';
import { alignCommand } from './align-command.js';
import { convertCommand } from './convert-command.js';
import { doctorCommand } from './doctor-command.js';
import { evalCommand } from './eval-command.js';
import { loraCommand } from './lora-command.js';
import { runCli } from './run-cli.js';

const program = new Command('kuea')
  .description('Make CLIP see better: align its vision encoder to DINOv2 on images alone, and tune LLaVA on it.')
  .version(packageVersion())
  .addCommand(alignCommand('align'))
  .addCommand(loraCommand('lora'))
  .addCommand(evalCommand('eval'))
  .addCommand(convertCommand())
  .addCommand(doctorCommand());

await runCli(program);
