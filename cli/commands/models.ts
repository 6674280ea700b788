import { toJson } from '@bufbuild/protobuf';
import { Command } from 'commander';
import {
  type ListModelsResponse,
  ListModelsResponseSchema,
  ModelService,
} from '../../proto/gen/serving_pb.js';
import { ModelServer } from '../client/model-server.ts';
import { settingOf } from '../config/settings.ts';
import { addSettings, configOf } from '../options.ts';
import { table } from '../table.ts';

/** `nereid models`: what the running model server has, and in which state. */
export function command(): Command {
  const where = (['serverAddress', 'host', 'grpcPort'] as const).map(settingOf);
  return addSettings(new Command(), where)
    .description('Lists the models of a running model server with their state.')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Examples:
  nereid models
  nereid models --server-address 10.0.0.7:8001 --json`,
    )
    .action(async ({ json = false }: { json?: boolean }, self: Command) => {
      using server = new ModelServer(configOf(self, []).serverAddress);
      const reply = await server.call(ModelService.method.listModels, {});
      console.log(json ? JSON.stringify(toJson(ListModelsResponseSchema, reply), null, 2) : listing(reply));
    });
}

const headings = [
  'NAME',
  'VERSION',
  'STATE',
  'TASKS',
  'DIMENSION',
  'MAX TOKENS',
  'INSTANCES',
  'LOADED',
  'SPACE',
];

function listing({ models, serverVersion }: ListModelsResponse): string {
  const rows = models.map((model) => [
    model.name,
    String(model.version),
    model.state,
    model.tasks.join(','),
    model.dimension === 0 ? '-' : String(model.dimension),
    String(model.maxTokens),
    model.instances
      .map(({ executionProvider, threads, state }) => `${executionProvider}x${threads}:${state}`)
      .join(' ') || '-',
    `${model.loadMs} ms`,
    model.space || '-',
  ]);
  const reasons = models
    .filter(({ reason }) => reason !== '')
    .map(({ name, version, reason }) => `${name} ${version}: ${reason}`);
  return [table(headings, rows), ...reasons, '', `Nereid ${serverVersion}`].join('\n');
}
