import { styleText } from 'node:util';
import { Command, InvalidArgumentError } from 'commander';
import type { WireAnswer, WireAnswerEvent } from '../client/answer-wire.ts';
import { ApiFailure } from '../client/api-failure.ts';
import { addClientOptions, orchestratorOf } from '../client/client-options.ts';
import type { Orchestrator } from '../client/orchestrator.ts';
import { degradedLines, placeOf, short } from '../client/passage-text.ts';

interface AskOptions {
  collection?: string;
  topK?: number;
  json?: boolean;
}

/** `nereid ask`: an answer as it is written, then its sources. */
export function command(): Command {
  return addClientOptions(new Command())
    .description('Asks a question. The answer is printed as it comes, then the sources that it cites.')
    .argument('<question>', 'in quotes')
    .option('--top-k <n>', 'sources that the answer may use, 1 to 100 (default: 8)', wholeNumber)
    .option('--json', 'print the whole reply as JSON when it is complete')
    .addHelpText(
      'after',
      `
Examples:
  nereid ask "How are batches formed?"
  nereid ask --top-k 3 --collection manuals "What does error 42 mean?"
  nereid ask --json "Who wrote it?" | jq .citations`,
    )
    .action(async (question: string, options: AskOptions, self: Command) => {
      const { orchestrator } = orchestratorOf(self);
      const body = { query: question, collection: options.collection, top_k: options.topK };
      if (options.json === true) {
        const reply = await orchestrator.call('/v1/query', { method: 'POST', body });
        console.log(JSON.stringify(reply, null, 2));
      } else await ask(orchestrator, body);
    });
}

/** @throws InvalidArgumentError, which commander tells together with the flag */
export function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new InvalidArgumentError('It must be a whole number, at least 1.');
  return value;
}

async function ask(orchestrator: Orchestrator, body: object): Promise<void> {
  for await (const { data } of orchestrator.events('/v1/query', { method: 'POST', body })) {
    const event = data as WireAnswerEvent;
    if (event.type === 'delta') process.stdout.write(event.text);
    else if (event.type === 'error') {
      process.stdout.write('\n');
      throw new ApiFailure(event.reason, event.message);
    } else if (event.type === 'done') {
      process.stdout.write(`\n${footer(event)}`);
      return;
    }
  }
  throw new ApiFailure(
    'UNEXPECTED_ANSWER',
    'the answer broke off: the connection ended before it was complete.',
  );
}

function footer(answer: WireAnswer): string {
  const { citations, sources, mode, model, found, degraded, timings } = answer;
  const cited =
    citations.length > 0 ? citations : sources.map(({ text, ...source }) => ({ ...source, quote: text }));
  const lines = [...Map.groupBy(cited, ({ number }) => number)].map(([number, quotes]) => {
    const quoted = quotes.map(({ quote }) => `      "${short(quote, 200)}"\n`);
    return `  [${number}] ${styleText('bold', placeOf(quotes[0]!))}\n${quoted.join('')}`;
  });
  const heading = citations.length > 0 ? 'Sources' : 'Nothing is cited; what was looked at';
  const how =
    mode === 'extractive'
      ? 'Extractive: these are sentences of the documents, word for word, because no chat model is configured (LLM_BASE_URL).'
      : `Written by ${model}.`;
  return [
    found && lines.length > 0 ? `\n${heading}:\n${lines.join('')}` : '',
    '\n',
    degradedLines(degraded),
    styleText('dim', `${how} ${Math.round(timings.total_ms)} ms.`),
    '\n',
  ].join('');
}
