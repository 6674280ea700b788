import { Command } from 'commander';
import { listenersOf, ragConfig } from '../config/config.ts';
import { settingsOf } from '../config/settings.ts';
import { relaunchTuned } from '../launch/memory-tuning.ts';
import { runProgram } from '../launch/run-program.ts';
import { addSettings, configOf } from '../options.ts';

/** `nereid rag`: the orchestrator in this process. */
export function command(): Command {
  return addSettings(new Command(), settingsOf('rag'))
    .description(
      'Starts the orchestrator: documents, search and answers over HTTP. It needs a model server ("nereid serve"). ' +
        'SIGTERM and Ctrl-C drain it; a second one ends it at once.',
    )
    .addHelpText(
      'after',
      `
Examples:
  nereid rag
  nereid rag --server-address models.internal:8001 --data-dir /var/lib/nereid
  QDRANT_URL=http://127.0.0.1:6333 LLM_BASE_URL=http://127.0.0.1:11434/v1 LLM_MODEL=qwen3 nereid rag`,
    )
    .action(async (_options: object, self: Command) => {
      const config = ragConfig(configOf(self, listenersOf.rag));
      await relaunchTuned('rag');
      await runProgram(async () => {
        const { run } = await import('../../orchestrator/main.ts');
        const { port, close } = await run(config);
        return { ports: { port }, close };
      });
    });
}
