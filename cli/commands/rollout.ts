import { Command } from 'commander';
import { AdminService, type RolloutStatus } from '../../proto/gen/admin_pb.js';
import { number, percents, version, weight } from '../admin/arguments.ts';
import { rolloutText } from '../admin/rollout-text.ts';
import { adminCommand, ask } from '../client/admin-options.ts';
import { CommandFailure, exitCodes } from '../exit-codes.ts';
import { wholeNumber } from './ask.ts';

const { getRollout, setTraffic, setShadow, startCanary, promote, rollBack } = AdminService.method;

const show = ({ status }: { status?: RolloutStatus | undefined }) => rolloutText(status);

/** `nereid rollout`: which version of a model answers, and how a new one takes over. */
export function command(): Command {
  const root = new Command()
    .description(
      'Divides the requests of a model between its versions, mirrors them, and moves them to a new version step by ' +
        'step. The model server takes these commands from its own machine, or with its admin key.',
    )
    .addHelpText('after', examples);
  for (const sub of [status(), set(), shadow(), canary(), promoted(), rolledBack()]) root.addCommand(sub);
  return root;
}

const examples = `
Examples:
  nereid rollout status my-model
  nereid rollout set my-model stable 1=90 2=10 --default
  nereid rollout shadow my-model 2 --percent 10
  nereid rollout canary my-model --to 2 --max-error-rate 0.01 --min-cosine 0.98
  nereid rollout promote my-model
  nereid rollout rollback my-model`;

function status(): Command {
  return adminCommand('status')
    .summary('show what is in force and why')
    .description('Shows aliases, traffic, mirrored requests, the canary and what was decided.')
    .argument('<model>')
    .action((model: string, _options: object, self: Command) =>
      ask(self, { method: getRollout, request: { model }, show }),
    );
}

function set(): Command {
  return adminCommand('set')
    .summary('set the weights of an alias')
    .description('Sets the weights of an alias, and writes rollout.yaml.')
    .argument('<model>')
    .argument('<alias>')
    .argument('<weights...>', 'versions and their weights: 1=90 2=10', weight)
    .option('--default', 'requests that name neither version nor alias follow this alias')
    .option(
      '--mixed-spaces',
      'allow versions of different vector spaces in one alias, in all aliases of the model',
    )
    .option('--no-mixed-spaces', 'allow that no more')
    .action(
      (
        model: string,
        alias: string,
        weights: Record<number, number>,
        options: { default?: boolean; mixedSpaces?: boolean },
        self: Command,
      ) => {
        const { default: makeDefault = false, mixedSpaces } = options;
        const spaces = mixedSpaces === undefined ? {} : { mixedSpaces };
        return ask(self, {
          method: setTraffic,
          request: { model, alias, weights, makeDefault, ...spaces },
          show,
        });
      },
    );
}

function shadow(): Command {
  return adminCommand('shadow')
    .summary('mirror requests and compare')
    .description('Mirrors a share of the requests to another version and compares the answers.')
    .argument('<model>')
    .argument('[version]', 'the version that gets the mirrored requests', version)
    .option('--percent <p>', 'percent of the requests (default: 10)', number)
    .option('--off', 'mirror no more')
    .action(
      (
        model: string,
        to: number | undefined,
        { percent = 10, off = false }: { percent?: number; off?: boolean },
        self: Command,
      ) => {
        if (off === (to !== undefined))
          throw new CommandFailure('name the version that gets the mirrored requests, or give --off', {
            exitCode: exitCodes.usage,
          });
        const wanted = to === undefined ? {} : { shadow: { version: to, percent } };
        return ask(self, { method: setShadow, request: { model, ...wanted }, show });
      },
    );
}

interface CanaryOptions {
  to: number;
  from?: number;
  alias?: string;
  steps?: number[];
  minRequests?: number;
  maxErrorRate?: number;
  maxP99Ratio?: number;
  minCosine?: number;
  minKendallTau?: number;
}

function canary(): Command {
  return adminCommand('canary')
    .summary('move an alias step by step')
    .description(
      'Moves an alias to another version step by step; a guard that breaks moves it back at once. Without guards it ' +
        'only counts requests.',
    )
    .argument('<model>')
    .requiredOption('--to <version>', 'the new version', version)
    .option('--from <version>', 'the old version (default: the one that has most of the alias)', version)
    .option('--alias <name>', 'the alias (default: the default one)')
    .option('--steps <percents>', 'percent of the requests at each step (default: 1,10,50,100)', percents)
    .option(
      '--min-requests <n>',
      'answered by the new version before a step is judged (default: 200)',
      wholeNumber,
    )
    .option('--max-error-rate <share>', 'share of failed requests, 0 to 1', number)
    .option('--max-p99-ratio <ratio>', 'p99 of the new version divided by that of the old one', number)
    .option('--min-cosine <cosine>', 'least mean cosine of mirrored texts', number)
    .option('--min-kendall-tau <tau>', 'least mean agreement of mirrored rankings', number)
    .action((model: string, options: CanaryOptions, self: Command) => {
      const { to, from = 0, alias = '', steps = [], minRequests = 0 } = options;
      const limits = GUARDS.map((name): [string, number | undefined] => [name, options[name]]);
      const guards = Object.fromEntries(limits.filter(([, limit]) => limit !== undefined));
      const plan = { alias, from, to, steps, minRequests, guards };
      return ask(self, { method: startCanary, request: { model, plan }, show });
    });
}

const GUARDS = ['maxErrorRate', 'maxP99Ratio', 'minCosine', 'minKendallTau'] as const;

function promoted(): Command {
  return adminCommand('promote')
    .summary('finish the canary')
    .description('Ends the canary: the new version gets all requests of the alias.')
    .argument('<model>')
    .action((model: string, _options: object, self: Command) =>
      ask(self, { method: promote, request: { model }, show }),
    );
}

function rolledBack(): Command {
  return adminCommand('rollback')
    .summary('take the canary back')
    .description(
      'Ends the canary: the old version gets all requests of the alias. Without a canary use "rollout set".',
    )
    .argument('<model>')
    .action((model: string, _options: object, self: Command) =>
      ask(self, { method: rollBack, request: { model }, show }),
    );
}
