import { EmbeddingCache } from '../../model-server/models/embedding-cache/embedding-cache.ts';
import { SharedEmbedder } from '../../model-server/models/embedding-cache/shared-embedder.ts';
import type { CallOptions, EmbedOutcome, LoadedText } from '../../model-server/models/run-task.ts';
import type { EncodedText } from '../../model-server/tasks/tokenizer.ts';
import { setUp } from './scheduler-setup.ts';

/** Words of a text are its token ids; nothing is put around them. */
const tokenizer = {
  idsOf: async (texts: readonly string[]) => texts.map((text) => text.split(' ').map(Number)),
  wrap: (ids: readonly number[], maxTokens: number): EncodedText => ({
    row: { ids: Int32Array.from(ids.slice(0, maxTokens)) },
    tokens: ids.length,
    truncated: ids.length > maxTokens,
  }),
};

/** What a text's vector is: its first id and the sum of its ids, as far as the model takes them. */
export function vectorOf(text: string, maxTokens = 8): number[] {
  const ids = text.split(' ').map(Number).slice(0, maxTokens);
  return [ids[0]!, ids.reduce((sum, id) => sum + id, 0)];
}

/**
 * A shared embedder over a real scheduler, whose instances run a batch until the test ends it and whose clock the test moves.
 * A model takes 8 tokens.
 */
export function setUpSharing({ cacheBytes = 1e6, queueItems = 100, instances = 1 } = {}) {
  const made = setUp(instances, { queue: { maxItems: queueItems, maxTokens: 10_000 } });
  const { clock, scheduler } = made;
  const cache = new EmbeddingCache({
    budgetBytes: cacheBytes,
    ttlMs: 0,
    nowMs: () => clock.nowUs() / 1000,
  });
  const embedder = new SharedEmbedder(cache, clock);
  const version = (space: string) =>
    ({
      owner: 'model m version 1',
      space,
      scheduler,
      text: { tokenizer },
      config: { maxTokens: 8 },
    }) as unknown as LoadedText;
  const loaded = version('s');
  const embed = (texts: string[], options: Partial<CallOptions> = {}): Promise<EmbedOutcome> => {
    const outcome = embedder.embed(loaded, texts, { truncate: 'end', ...options });
    outcome.catch(() => undefined);
    return outcome;
  };
  return { ...made, cache, embedder, version, loaded, embed };
}
