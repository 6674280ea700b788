import { RagError } from './errors.ts';
import type { PartReadiness, Readiness } from './http/app.ts';
import type { EmbeddingModel, MetadataStore, VectorStore } from './ports.ts';

/** Milliseconds that a part may take to answer. */
const patienceMs = 2_000;
/** Milliseconds that an answer is good for; probes of several kinds ask at the same time. */
const freshMs = 500;

/** The parts that a search and an ingest need. */
export interface CheckedParts {
  modelServer: { ready(options: { signal: AbortSignal }): Promise<EmbeddingModel> };
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

async function ask({ modelServer, vectors, metadata }: CheckedParts): Promise<Readiness> {
  const [model_server, vector_store, metadata_store] = await Promise.all([
    check(async (signal) => {
      const { model, version, space } = await modelServer.ready({ signal });
      return `${model} version ${version}, space ${space}`;
    }),
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
