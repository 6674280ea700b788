import { settingsSchema } from '../config/settings.ts';
import { packageRoot, runsFromSource } from '../package-root.ts';

const question = 'How does the model server form batches?';
const usual = settingsSchema.pick({ host: true, port: true }).parse({});

/** A command line that asks the orchestrator at `url` and works for this user as it stands. */
export function askCommand(url: string): string {
  const where = url === `http://${usual.host}:${usual.port}` ? '' : `--url ${url} `;
  return `${runner()} ask ${where}"${question}"`;
}

/** A checkout has no linked `nereid`; its npm script also finds the pinned Node. */
function runner(): string {
  if (runsFromSource) return 'npm run -s nereid --';
  return packageRoot.includes('node_modules') ? 'npx nereid' : `node ${packageRoot}/dist/cli/nereid.js`;
}
