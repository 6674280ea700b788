import { expect, test } from 'vitest';
import { RagError } from '../../orchestrator/errors.ts';
import type { DescribeOptions } from '../../orchestrator/ports.ts';
import { type CheckedParts, readinessCheck } from '../../orchestrator/readiness.ts';

const several = new RagError('MODEL_SERVER_REFUSED', 'Say which one with --embed-model.');
const gone = new RagError('SPACE_MISMATCH', 'Nobody has it.');

/** Readiness over collections of these spaces, with what `describe` throws for a space, or for none. */
function readinessOf(spaces: string[], thrown: Record<string, RagError>, change: Partial<CheckedParts> = {}) {
  const embedder = {
    describe: async ({ space = 'none' }: DescribeOptions = {}) => {
      if (thrown[space]) throw thrown[space];
      return { model: `of-${space}`, version: 1, space, dimension: 2, maxTokens: 9, specialTokens: 2 };
    },
  };
  const collections = spaces.map((space) => ({ name: space, space, dimension: 2 }));
  const vectors = { description: 'memory', listCollections: async () => collections };
  const metadata = { listDocuments: () => ({ documents: [], total: 0 }) };
  return readinessCheck({ embedder, vectors, metadata, ...change })();
}

test('it is ready when a collection could be made, though none that there is could be served', async () => {
  const { model_server } = await readinessOf(['a'], { a: gone });
  expect(model_server).toEqual({ ready: true, message: 'of-none version 1, space none' });
});

test.each([
  ['all collections', {}, /^all collections are served, by of-a .* and of-b .*--embed-model\.$/],
  ['one of two', { b: gone }, /^some of the collections are served, by of-a .*--embed-model\.$/],
])('it is ready when %s can be served, and says what new ones need', async (_what, thrown, message) => {
  const { model_server } = await readinessOf(['a', 'b'], { none: several, ...thrown });
  expect(model_server).toEqual({ ready: true, message: expect.stringMatching(message) });
});

test('it is not ready when no collection can be served or made, and says what to set', async () => {
  const { model_server } = await readinessOf(['a'], { none: several, a: gone });
  expect(model_server).toEqual({ ready: false, message: several.message });
  expect((await readinessOf([], { none: several })).model_server.ready).toBe(false);
});

test('what is known of a server that is away does not count', async () => {
  const away = new RagError('MODEL_SERVER_UNAVAILABLE', 'It is away.');
  const { model_server } = await readinessOf(['a'], { none: away });
  expect(model_server).toEqual({ ready: false, message: 'It is away.' });
});

test('a store that is away is told by its own part alone', async () => {
  const listCollections = async () => Promise.reject(new RagError('STORE_UNAVAILABLE', 'No store.'));
  const parts = await readinessOf([], {}, { vectors: { description: 'memory', listCollections } });
  expect(parts.model_server.ready).toBe(true);
  expect(parts.vector_store).toEqual({ ready: false, message: 'No store.' });
});
