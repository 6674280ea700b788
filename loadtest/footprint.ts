import { openAsBlob } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startProduct } from './product.ts';

const usage = `Usage: npm run footprint -- <folder>

Starts both programs over an empty data folder, ingests the files of the folder, searches, and prints how long the start
took and how much memory each program holds.

  --json   the figures as one line of JSON`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
const folder = positionals[0];
if (values.help || folder === undefined) {
  console.log(usage);
  process.exit(values.help ? 0 : 2);
}

/** Resident memory in MB, as the program itself reports it. */
async function residentMb(metricsUrl: string): Promise<number> {
  const text = await (await fetch(metricsUrl)).text();
  const bytes = /^process_resident_memory_bytes (\S+)$/m.exec(text)?.[1];
  if (bytes === undefined) throw new Error(`${metricsUrl} does not tell process_resident_memory_bytes`);
  return Math.round(Number(bytes) / 1e6);
}

const product = await startProduct([]);
const memory: Record<string, { server: number; orchestrator: number }> = {};
const note = async (when: string) => {
  const [server, orchestrator] = [
    await residentMb(product.serverMetricsUrl),
    await residentMb(`${product.url}/metrics`),
  ];
  memory[when] = { server, orchestrator };
};
try {
  await note('started');
  const form = new FormData();
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.isFile()) form.append('file', await openAsBlob(join(folder, entry.name)), entry.name);
  }
  const started = performance.now();
  const reply = await fetch(`${product.url}/v1/documents?wait=true`, { method: 'POST', body: form });
  if (!reply.ok) throw new Error(`the upload failed with ${reply.status}: ${await reply.text()}`);
  const ingestSeconds = (performance.now() - started) / 1000;
  await note('ingested');
  for (let index = 0; index < 20; index++) {
    const body = JSON.stringify({ query: `what is said about subject ${index}` });
    await fetch(`${product.url}/v1/search`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    });
  }
  await note('searched');
  if (values.json) console.log(JSON.stringify({ readyMs: product.readyMs, ingestSeconds, memory }));
  else {
    console.log(
      `ready after ${(product.readyMs / 1000).toFixed(1)} s; ingested in ${ingestSeconds.toFixed(1)} s`,
    );
    for (const [when, { server, orchestrator }] of Object.entries(memory)) {
      console.log(
        `${when.padEnd(8)}: ${server + orchestrator} MB (server ${server}, orchestrator ${orchestrator})`,
      );
    }
  }
} finally {
  await product.stop();
}
