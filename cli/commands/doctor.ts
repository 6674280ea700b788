import { Command } from 'commander';
import { settingsOf } from '../config/settings.ts';
import { type Check, checkList } from '../doctor/check.ts';
import { diskCheck } from '../doctor/disk.ts';
import { machineChecks } from '../doctor/machine.ts';
import { modelChecks } from '../doctor/models.ts';
import { portChecks } from '../doctor/ports.ts';
import { remoteChecks } from '../doctor/remotes.ts';
import { exitCodes } from '../exit-codes.ts';
import { addSettings, configOf } from '../options.ts';

/** `nereid doctor`: what works here, what does not, and what to do about it. */
export function command(): Command {
  return addSettings(new Command(), settingsOf('server', 'rag'))
    .description(
      'Checks this machine, the ports, the models (against reference vectors that ship with them) and what is ' +
        'configured. Takes the same settings as "up". Ends with 1 when anything fails.',
    )
    .option('--json', 'print the checks as JSON')
    .addHelpText(
      'after',
      `
Examples:
  nereid doctor
  nereid doctor --model-repository /srv/models
  nereid doctor --json | jq '.checks[] | select(.status != "ok")'`,
    )
    .action(async ({ json = false }: { json?: boolean }, self: Command) => {
      const config = configOf(self);
      // Ports first: the model check may open some of its own.
      const ports = await portChecks(config);
      const [models, remotes, disk] = await Promise.all([
        modelChecks(config),
        remoteChecks(config),
        diskCheck(config.dataDir),
      ]);
      const checks: Check[] = [...machineChecks(), ...models, ...ports, disk, ...remotes];
      const failed = checks.filter(({ status }) => status === 'fail').length;
      const warned = checks.filter(({ status }) => status === 'warn').length;
      if (json) console.log(JSON.stringify({ ok: failed === 0, checks }, null, 2));
      else console.log(`${checkList(checks)}\n\n${checks.length} checks, ${warned} warned, ${failed} failed`);
      if (failed > 0) process.exitCode = exitCodes.failed;
    });
}
