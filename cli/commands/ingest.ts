import { access, constants } from 'node:fs/promises';
import { relative } from 'node:path';
import { Command } from 'commander';
import { ApiFailure } from '../client/api-failure.ts';
import { addClientOptions, orchestratorOf } from '../client/client-options.ts';
import type { Orchestrator } from '../client/orchestrator.ts';
import { exitCodes } from '../exit-codes.ts';
import { type Collected, collect, type Found } from '../ingest/collect.ts';
import { showProgress } from '../ingest/progress.ts';
import { batchesOf, failed, ingestBatch, type Outcome } from '../ingest/upload.ts';
import { table } from '../table.ts';

/** Small enough that the first documents are searchable soon. */
const BATCH_FILES = 16;
const BATCH_BYTES = 32 * 1024 * 1024;

interface IngestOptions {
  collection?: string;
  json?: boolean;
}

/** `nereid ingest`: files into the store, told one by one. */
export function command(): Command {
  return addClientOptions(new Command())
    .description(
      'Uploads files and waits until they are searchable. A folder is taken with all below it, except hidden files and ' +
        'node_modules. The id of a file is the name of the given folder and the path in it (like docs/guide/start.md), of a ' +
        'file given by itself its name, of a glob as of the folder before its first wildcard. Ingesting an id again ' +
        'replaces it, and costs nothing when it has not changed. Ends with 1 when any file failed.',
    )
    .argument('<path...>', 'files, folders, and globs in quotes')
    .option('--json', 'print the outcome as JSON')
    .addHelpText(
      'after',
      `
Examples:
  nereid ingest handbook.pdf
  nereid ingest docs/ "reports/**/*.pdf" --collection company
  nereid ingest docs/ --json | jq '.failed'`,
    )
    .action(async (paths: string[], options: IngestOptions, self: Command) => {
      const { orchestrator, config } = orchestratorOf(self);
      const collected = await collect(paths, process.cwd());
      const { json = false, collection } = options;
      if (!json) tellSkipped(collected.skipped);
      const outcomes = await ingest(orchestrator, collected.files, {
        collection,
        maxBytes: config.maxUploadBytes,
      });
      console.log(json ? asJson(outcomes, collected.skipped) : summary(outcomes));
      if (outcomes.some(({ status }) => status === 'failed')) process.exitCode = exitCodes.failed;
    });
}

function tellSkipped(skipped: Collected['skipped']): void {
  for (const { path, why } of skipped) console.error(`skipped ${relative(process.cwd(), path)}: ${why}`);
}

async function ingest(
  orchestrator: Orchestrator,
  files: readonly Found[],
  { collection, maxBytes }: { collection: string | undefined; maxBytes: number },
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const progress = showProgress(files.length, process.stderr);
  const onOutcome = (outcome: Outcome) => {
    outcomes.push(outcome);
    progress.settled(outcome);
  };
  const options = { collection, onOutcome, onProgress: progress.doing };
  try {
    const batches = batchesOf(await sendable(files, maxBytes, onOutcome), {
      files: BATCH_FILES,
      bytes: BATCH_BYTES,
    });
    for (const batch of batches) await ingestBatch(orchestrator, batch, options);
  } catch (error) {
    if (!(error instanceof ApiFailure) || outcomes.length === 0) throw error;
    // Some files are in: the summary must say which, and which not.
    const settled = new Set(outcomes.map(({ file }) => file));
    for (const file of files) if (!settled.has(file)) onOutcome(failed(file, error.reason, error.message));
  } finally {
    progress.stop();
  }
  // They settle in any order; people look for them in theirs.
  return outcomes.sort((a, b) => files.indexOf(a.file) - files.indexOf(b.file));
}

/** The files that can be read and are not too large; the others fail here. */
async function sendable(
  files: readonly Found[],
  maxBytes: number,
  onOutcome: (outcome: Outcome) => void,
): Promise<Found[]> {
  const fitting: Found[] = [];
  for (const file of files) {
    const unreadable = await access(file.path, constants.R_OK).then(
      () => undefined,
      (error: Error) => error.message,
    );
    if (unreadable !== undefined) onOutcome(failed(file, 'UNREADABLE', `it can't be read: ${unreadable}`));
    else if (file.bytes > maxBytes) onOutcome(tooLarge(file, maxBytes));
    else fitting.push(file);
  }
  return fitting;
}

function tooLarge(file: Found, maxBytes: number): Outcome {
  const message = `it has ${file.bytes} bytes and was not sent; the limit for one file is ${maxBytes} (max-upload-bytes).`;
  return failed(file, 'TOO_LARGE', message);
}

function asJson(outcomes: readonly Outcome[], skipped: Collected['skipped']): string {
  const documents = outcomes.map(({ file, ...outcome }) => ({
    id: file.name,
    path: file.path,
    bytes: file.bytes,
    ...outcome,
  }));
  const count = (status: Outcome['status']) => outcomes.filter((outcome) => outcome.status === status).length;
  return JSON.stringify(
    { ready: count('ready'), unchanged: count('unchanged'), failed: count('failed'), documents, skipped },
    null,
    2,
  );
}

function summary(outcomes: readonly Outcome[]): string {
  const rows = outcomes.map(({ file, status, pages, chunks, embedded }) => [
    file.name,
    status,
    ...[pages, chunks, embedded].map((figure) => (figure === undefined ? '-' : String(figure))),
  ]);
  const notes = outcomes.flatMap(({ file, error, warnings = [] }) => [
    ...(error === undefined ? [] : [`${file.name} failed: ${error.reason}: ${error.message}`]),
    ...warnings.map((warning) => `${file.name}: ${warning}`),
  ]);
  const counts = (['ready', 'unchanged', 'failed'] as const)
    .map((status) => `${outcomes.filter((outcome) => outcome.status === status).length} ${status}`)
    .join(', ');
  const shown = rows.length === 0 ? [] : [table(['FILE', 'STATUS', 'PAGES', 'CHUNKS', 'EMBEDDED'], rows), ''];
  return [...shown, ...notes, ...(notes.length > 0 ? [''] : []), counts].join('\n');
}
