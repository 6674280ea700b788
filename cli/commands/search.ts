import { styleText } from 'node:util';
import { Command, Option } from 'commander';
import type { WireHit, WireHits } from '../client/answer-wire.ts';
import { addClientOptions, orchestratorOf } from '../client/client-options.ts';
import { degradedLines, placeOf, short } from '../client/passage-text.ts';
import { wholeNumber } from './ask.ts';

interface SearchOptions {
  collection?: string;
  topK?: number;
  mode?: string;
  rerank: boolean;
  json?: boolean;
}

/** `nereid search`: passages, best first, with no chat model involved. */
export function command(): Command {
  return addClientOptions(new Command())
    .description('Finds the passages that match best, and says which sources found each.')
    .argument('<query>', 'in quotes')
    .option('--top-k <n>', 'hits, 1 to 100 (default: 10)', wholeNumber)
    .addOption(
      new Option('--mode <mode>', 'which sources to ask (default: hybrid)').choices([
        'dense',
        'keyword',
        'hybrid',
      ]),
    )
    .option('--no-rerank', 'do not score the best hits again')
    .option('--json', 'print the reply as JSON')
    .addHelpText(
      'after',
      `
Examples:
  nereid search "wing flutter"
  nereid search --mode keyword --no-rerank "ERR_42"
  nereid search --json "wing flutter" | jq -r '.hits[].document_id'`,
    )
    .action(async (query: string, options: SearchOptions, self: Command) => {
      const { collection, topK, mode, rerank, json = false } = options;
      const body = { query, collection, top_k: topK, mode, rerank };
      const reply = (await orchestratorOf(self).orchestrator.call('/v1/search', {
        method: 'POST',
        body,
      })) as WireHits;
      console.log(json ? JSON.stringify(reply, null, 2) : listing(reply));
    });
}

function listing({ hits, mode, score_kind, degraded, timings }: WireHits): string {
  const count = `${hits.length} hit${hits.length === 1 ? '' : 's'}`;
  const end = styleText(
    'dim',
    `${count}, ${mode}, scores are ${score_kind}. ${Math.round(timings.total_ms)} ms.`,
  );
  return [...hits.map(entry), degradedLines(degraded) + end].join('\n');
}

function entry(hit: WireHit, index: number): string {
  const ranks = Object.entries(hit.sources).map(([source, { rank }]) => `${source} #${rank}`);
  const head = `${String(index + 1).padStart(3)}. ${styleText('bold', placeOf(hit))}  ${hit.score.toFixed(4)}  (${ranks.join(', ')})`;
  return `${head}\n     ${short(hit.text, 300)}\n`;
}
