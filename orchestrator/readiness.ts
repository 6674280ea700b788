import { RagError } from './errors.ts';
import type { PartReadiness, Readiness } from './http/app.ts';
import { newCollectionModel } from './ingest/collection-model.ts';
import type { Embedder, EmbeddingModel, MetadataStore, VectorStore } from './ports.ts';

/** Milliseconds that a part may take to answer. */
const patienceMs = 2_000;
/** Milliseconds that an answer is good for; probes of several kinds ask at the same time. */
const freshMs = 500;

/** The parts that a search and an ingest need. */
export interface CheckedParts {
  embedder: Pick<Embedder, 'describe'>;
  vectors: Pick<VectorStore, 'description' | 'listCollections'>;
  metadata: Pick<MetadataStore, 'listDocuments'>;
}

/** Asks every part whether it works, at most twice a second. */
export function readinessCheck(parts: CheckedParts): () => Promise<Readiness> {
  let last: { askedAt: number; answer: Promise<Readiness> } | undefined;
  return () => {
    const now = performance.now();
    if (!last || now - last.askedAt > freshMs) last = { askedAt: now, answer: ask(parts) };
    return last.answer;
  };
}

async function ask({ embedder, vectors, metadata }: CheckedParts): Promise<Readiness> {
  const [model_server, vector_store, metadata_store] = await Promise.all([
    check((signal) => modelsFor({ embedder, vectors }, signal)),
    check(async () => {
      await vectors.listCollections();
      return vectors.description;
    }),
    check(async () => {
      metadata.listDocuments(undefined, { limit: 1, offset: 0 });
      return 'SQLite';
    }),
  ]);
  return { model_server, vector_store, metadata_store };
}

/**
 * Which model new collections take; when none can be made, which models the collections have that there are.
 * @throws RagError why no collection can be made, when none that there is can be served either
 */
async function modelsFor(
  { embedder, vectors }: Pick<CheckedParts, 'embedder' | 'vectors'>,
  signal: AbortSignal,
): Promise<string> {
  // A store that is away is told by its own part.
  const collections = await vectors.listCollections().catch(() => []);
  try {
    return told(await newCollectionModel(embedder, collections, { signal }));
  } catch (thrown) {
    const error = RagError.from(thrown);
    // A server that is away or still loading serves no collection either.
    if (error.retryable) throw error;
    const spaces = new Set(collections.map(({ space }) => space));
    const asked = await Promise.allSettled([...spaces].map((space) => embedder.describe({ space, signal })));
    const served = asked.flatMap((answer) => (answer.status === 'fulfilled' ? [told(answer.value)] : []));
    if (served.length === 0) throw error;
    const which = served.length === spaces.size ? 'all collections' : 'some of the collections';
    return `${which} are served, by ${served.join(' and ')}; new ones can't be made: ${error.message}`;
  }
}

function told({ model, version, space }: EmbeddingModel): string {
  return `${model} version ${version}, space ${space}`;
}

async function check(work: (signal: AbortSignal) => Promise<string>): Promise<PartReadiness> {
  const late = new AbortController();
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const error = new RagError('DEADLINE_EXCEEDED', `It did not answer within ${patienceMs} ms.`);
    late.abort(error);
    reject(error);
  }, patienceMs);
  try {
    return { ready: true, message: await Promise.race([work(late.signal), promise]) };
  } catch (error) {
    return { ready: false, message: RagError.from(error).message };
  } finally {
    clearTimeout(timer);
  }
}
