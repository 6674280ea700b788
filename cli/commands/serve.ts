import { Command } from 'commander';
import { listenersOf, serverConfig } from '../config/config.ts';
import { settingsOf } from '../config/settings.ts';
import { relaunchTuned } from '../launch/memory-tuning.ts';
import { runProgram } from '../launch/run-program.ts';
import { addSettings, configOf } from '../options.ts';

/** `nereid serve`: the model server in this process. */
export function command(): Command {
  return addSettings(new Command(), settingsOf('server'))
    .description(
      'Starts the model server: gRPC for embeddings and reranking, HTTP for health, and Prometheus metrics. ' +
        'SIGTERM and Ctrl-C drain it; a second one ends it at once.',
    )
    .addHelpText(
      'after',
      `
Examples:
  nereid serve
  nereid serve --model-repository /srv/models --instances 4
  NEREID_GRPC_PORT=9001 nereid serve --log-level warn`,
    )
    .action(async (_options: object, self: Command) => {
      const config = serverConfig(configOf(self, listenersOf.server));
      await relaunchTuned('serve');
      await runProgram(async () => {
        const { run } = await import('../../model-server/main.ts');
        const { grpcPort, httpPort, metricsPort, close } = await run(config);
        return { ports: { grpcPort, httpPort, metricsPort }, close };
      });
    });
}
