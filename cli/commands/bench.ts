import { writeFile } from 'node:fs/promises';
import { Command } from 'commander';
import { bench } from '../bench/bench.ts';
import { addBenchOptions, type BenchOptions, checkBenchOptions } from '../bench/bench-options.ts';
import { progressLine } from '../bench/progress.ts';
import { asMarkdown, asText } from '../bench/report.ts';
import { CommandFailure, exitCodes } from '../exit-codes.ts';
import { configOf } from '../options.ts';

const examples = `
Examples:
  nereid bench                                             32 callers with short questions, and the limit of this machine
  nereid bench --tokens 40-300 --texts-per-call 32         passages, as an ingest sends them
  nereid bench --rate 500 --timeout-ms 200                 calls that do not wait for each other, with a deadline
  nereid bench --mode stream --concurrency 128 --json
  nereid bench --over http-json --texts questions.txt --report bench.md
  nereid bench --against http://127.0.0.1:3000 --protocol tei

The texts are made of common words and all differ. Latency counts from when a call was due, so that a server that is late is
not spared the calls that would have come meanwhile. Ratios are made within a round; their median counts.`;

/** `nereid bench`: a running server under load, beside what the machine can do at most. */
export function command(): Command {
  return addBenchOptions(new Command())
    .description(
      'Puts a running model server under load and measures rate, latency, failures and padding; ONNX Runtime alone with ' +
        'ideal batches, in turns, is the limit it is compared with. Ctrl-C ends early and reports what was measured.',
    )
    .addHelpText('after', examples)
    .action(async (options: BenchOptions, self: Command) => {
      checkBenchOptions(options);
      const config = configOf(self, []);
      const ended = new AbortController();
      const progress = progressLine(process.stderr);
      const onInterrupt = () => {
        // A second Ctrl-C does not wait for what is under way.
        if (ended.signal.aborted) process.exit(exitCodes.interrupted);
        ended.abort();
      };
      process.on('SIGINT', onInterrupt);
      try {
        const { heading, summary } = await bench({
          options,
          config,
          signal: ended.signal,
          onProgress: progress.tell,
        });
        progress.clear();
        console.log(
          options.json ? JSON.stringify({ ...heading, ...summary }, null, 2) : asText(heading, summary),
        );
        if (options.report !== undefined) await writeReport(options.report, asMarkdown(heading, summary));
      } finally {
        progress.clear();
        process.off('SIGINT', onInterrupt);
      }
      if (ended.signal.aborted) process.exitCode = exitCodes.interrupted;
    });
}

async function writeReport(file: string, text: string): Promise<void> {
  await writeFile(file, text).catch((error: Error) => {
    throw new CommandFailure(`--report ${file} can't be written: ${error.message}`);
  });
}
