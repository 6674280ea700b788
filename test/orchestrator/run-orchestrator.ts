import { ragConfigSchema } from '../../orchestrator/config.ts';
import { run } from '../../orchestrator/main.ts';

// The orchestrator in a process of its own, with the settings of the first argument; prints its port.
const { port } = await run(ragConfigSchema.parse(JSON.parse(process.argv[2] ?? '{}')));
console.log(port);
