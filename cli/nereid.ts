#!/usr/bin/env node
import { enableCompileCache } from 'node:module';
import { Command, CommanderError } from 'commander';
import { exitCodes, exitCodesHelp } from './exit-codes.ts';
import { packageVersion } from './package-root.ts';
import { printFailure } from './print-failure.ts';

enableCompileCache?.();

/** A command's file is loaded only when that command is asked for, so that `ask` does not pay for `serve`. */
const commands: Record<string, { summary: string; load: () => Promise<{ command: () => Command }> }> = {
  up: {
    summary: 'start the model server and the orchestrator in one terminal',
    load: () => import('./commands/up.ts'),
  },
  serve: { summary: 'start the model server alone', load: () => import('./commands/serve.ts') },
  rag: { summary: 'start the orchestrator alone', load: () => import('./commands/rag.ts') },
  ingest: {
    summary: 'upload files and folders, and wait until they are searchable',
    load: () => import('./commands/ingest.ts'),
  },
  ask: {
    summary: 'ask a question and get an answer with its sources',
    load: () => import('./commands/ask.ts'),
  },
  search: { summary: 'find passages', load: () => import('./commands/search.ts') },
  pull: {
    summary: 'bring a model from the Hugging Face hub or a folder into the repository',
    load: () => import('./commands/pull.ts'),
  },
  models: {
    summary: 'list the models of a running server, load and unload them',
    load: () => import('./commands/models.ts'),
  },
  rollout: {
    summary: 'divide requests between the versions of a model',
    load: () => import('./commands/rollout.ts'),
  },
  tune: {
    summary: 'find the configuration of a model that is fastest within a latency',
    load: () => import('./commands/tune.ts'),
  },
  bench: {
    summary: 'put a running model server under load, and compare it with what this machine can do',
    load: () => import('./commands/bench.ts'),
  },
  doctor: {
    summary: 'check this machine, the models and what is configured',
    load: () => import('./commands/doctor.ts'),
  },
};

async function program(args: readonly string[]): Promise<Command> {
  const root = new Command('nereid')
    .description('Serves small models over gRPC and answers questions about your documents, with citations.')
    .version(packageVersion(), '-V, --version')
    .helpCommand('help [command]', 'show the help of a command')
    .showHelpAfterError('(see --help)')
    .exitOverride()
    // Flags behind a command are that command's, such as a --version of its own; commands inherit this.
    .enablePositionalOptions()
    .addHelpText('after', rootHelp);
  const words = args.filter((word) => !word.startsWith('-'));
  const wanted = words[0] === 'help' ? words[1] : words[0];
  for (const [name, { summary, load }] of Object.entries(commands)) {
    const command = name === wanted ? (await load()).command() : new Command(name);
    root.addCommand(command.name(name).summary(summary));
    inherit(command, root);
    if (name === wanted)
      for (const one of [command, ...command.commands]) one.addHelpText('after', exitCodesHelp);
  }
  return root;
}

/** Gives a command and those below it the root's ways to fail. */
function inherit(command: Command, parent: Command): void {
  command.copyInheritedSettings(parent);
  for (const sub of command.commands) inherit(sub, command);
}

const rootHelp = `
Examples:
  nereid up                          both programs, with the sample documents
  nereid ingest docs/ "notes/*.md"   files, folders and globs
  nereid ask "How are batches formed?"
  nereid doctor                      when something does not work

Settings come from flags, environment (NEREID_PORT, QDRANT_URL, ...) and nereid.yaml, in this order of weight.
"nereid up --help" lists them all.
${exitCodesHelp}`;

// A reader that has seen enough, such as `head`, is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(exitCodes.ok);
  throw error;
});

try {
  await (await program(process.argv.slice(2))).parseAsync();
} catch (error) {
  // Commander has printed its own message.
  if (error instanceof CommanderError)
    process.exitCode = error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  else process.exitCode = printFailure(error);
}
