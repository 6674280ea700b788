import type { Command } from 'commander';
import { AdminService } from '../../proto/gen/admin_pb.js';
import { ModelService } from '../../proto/gen/serving_pb.js';
import { fileOverride, readOverride, version } from '../admin/arguments.ts';
import { aliasLines, comparisonText, detailsText, memoryTable, modelTable } from '../admin/model-tables.ts';
import { adminCommand, ask, serverCommand } from '../client/admin-options.ts';
import { size } from '../doctor/check.ts';

const { showModel, loadModel, unloadModel, drain, getMemory, cleanUp, compare } = AdminService.method;

/** Loading reads and warms a model; draining waits for the requests that run. */
const LONG_MS = 600_000;

/** `nereid models`: what the running model server has and in which state; below it, what to do with them. */
export function command(): Command {
  const root = serverCommand()
    .description(
      'Lists the models of a running model server with their state. Memory is measured / predicted. The commands ' +
        'below administrate; the server takes them from its own machine, or with its admin key.',
    )
    .addHelpText('after', examples)
    .action((_options: object, self: Command) =>
      ask(self, {
        method: ModelService.method.listModels,
        request: {},
        show: ({ models, aliases, serverVersion }) =>
          [modelTable(models), ...aliasLines(aliases), `Nereid ${serverVersion}`].join('\n\n'),
      }),
    );
  for (const sub of [show(), load(), unload(), drainOrResume(), memory(), clean(), compared()])
    root.addCommand(sub);
  return root;
}

const examples = `
Examples:
  nereid models
  nereid models --server-address 10.0.0.7:8001 --json
  nereid models show all-minilm-l6-v2              where each setting came from
  nereid models load my-model --model-config config.json --file 1/model.onnx=./model.onnx
  nereid models unload my-model --version 1
  nereid models drain                              not ready any more, but still answering
  nereid models compare my-model 1 2               may their vectors be mixed?`;

function show(): Command {
  return adminCommand('show')
    .description('Shows the effective configuration of a model, where each value came from, and its tensors.')
    .argument('<model>')
    .option('--version <n>', 'one version only', version)
    .action((model: string, { version: one }: { version?: number }, self: Command) =>
      ask(self, { method: showModel, request: { model, version: one ?? 0 }, show: detailsText }),
    );
}

function load(): Command {
  return adminCommand('load')
    .description('Loads a model from the repository, or with what the options give in place of its files.')
    .argument('<model>')
    .option('--model-config <file>', 'JSON of the whole configuration, in place of config.pbtxt')
    .option(
      '--file <version/file=path>',
      'a file of the model (repeatable; needs --model-config): these files stand in for all of its folder, 63 MiB at most',
      fileOverride,
    )
    .action(
      async (
        model: string,
        { modelConfig, file = {} }: { modelConfig?: string; file?: Record<string, string> },
        self: Command,
      ) =>
        ask(self, {
          method: loadModel,
          request: { model, ...(await readOverride(modelConfig, file)) },
          show: ({ versions }) => modelTable(versions),
          timeoutMs: LONG_MS,
          waiting: `loading ${model}`,
        }),
    );
}

function unload(): Command {
  return adminCommand('unload')
    .description(
      'Finishes the requests of a model that are running, then gives its memory back. It stays unloaded until ' +
        '"nereid models load"; of a single version (--version) the next request that wants it loads it again.',
    )
    .argument('<model>')
    .option('--version <n>', 'one version only', version)
    .action((model: string, { version: one }: { version?: number }, self: Command) =>
      ask(self, {
        method: unloadModel,
        request: { model, version: one ?? 0 },
        show: ({ versions }) => modelTable(versions),
        timeoutMs: LONG_MS,
        waiting: `unloading ${model}`,
      }),
    );
}

function drainOrResume(): Command {
  return adminCommand('drain')
    .description(
      'Takes no new requests for a model. Without a model: the server says that it is not ready, so that load ' +
        'balancers leave it alone, and answers what still comes.',
    )
    .argument('[model]')
    .option('--resume', 'take requests again')
    .action((model: string | undefined, { resume = false }: { resume?: boolean }, self: Command) =>
      ask(self, {
        method: drain,
        request: { model: model ?? '', resume },
        show: () => `${model ?? 'the server'} ${resume ? 'takes requests again' : 'is draining'}`,
      }),
    );
}

function memory(): Command {
  return adminCommand('memory')
    .description('Shows the memory of each device and who holds it, measured beside predicted.')
    .action((_options: object, self: Command) =>
      ask(self, { method: getMemory, request: {}, show: ({ devices }) => memoryTable(devices) }),
    );
}

function clean(): Command {
  return adminCommand('clean-up')
    .description('Unloads every model version that no request needs now; the next request loads it again.')
    .action((_options: object, self: Command) =>
      ask(self, {
        method: cleanUp,
        request: {},
        show: ({ evicted, freedBytes }) =>
          evicted.length === 0
            ? 'nothing was idle'
            : `unloaded ${evicted.join(', ')}: ${size(Number(freedBytes))} are free again`,
        timeoutMs: LONG_MS,
        waiting: 'cleaning up',
      }),
    );
}

function compared(): Command {
  return adminCommand('compare')
    .description('Compares the vectors of two versions: identical, near (with figures), or incompatible.')
    .argument('<model>')
    .argument('<a>', 'a version', version)
    .argument('<b>', 'another version', version)
    .action((model: string, a: number, b: number, _options: object, self: Command) =>
      ask(self, {
        method: compare,
        request: { model, a, b },
        show: comparisonText,
        timeoutMs: LONG_MS,
        waiting: `comparing ${model} ${a} and ${b}`,
      }),
    );
}
