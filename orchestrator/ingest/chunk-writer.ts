import { RagError } from '../errors.ts';
import type { ChunkWithVector, Embedder, EmbeddingModel, StoredChunk, VectorStore } from '../ports.ts';
import { embeddedText } from './embedded-text.ts';

/** Texts in one call to the embedder. */
const EMBED_BATCH = 64;
/** Calls to the embedder at one time: one computes while the other travels. */
const EMBEDS_IN_FLIGHT = 2;
/** Chunks stored at a time: the work that a kill can cost, and the vectors held at one time (twice, while one call runs). */
const STORE_BATCH = 256;

export interface ChunkWriterOptions {
  signal: AbortSignal;
  /** Vectors that are known already, by contentHash. */
  known: ReadonlyMap<string, Float32Array>;
  onProgress: (stage: 'embed' | 'store', done: number, total: number) => void;
}

export interface WrittenChunks {
  /** Chunks that had to be embedded. */
  embedded: number;
  /** Chunks of which the model left the end out. */
  truncated: number;
}

/** Embeds the chunks of one document and stores them, in batches, so that a book's vectors are never held at once. */
export class ChunkWriter {
  readonly #embedder: Pick<Embedder, 'embed'>;
  readonly #vectors: Pick<VectorStore, 'upsert'>;
  readonly #model: EmbeddingModel;

  constructor(
    embedder: Pick<Embedder, 'embed'>,
    vectors: Pick<VectorStore, 'upsert'>,
    model: EmbeddingModel,
  ) {
    this.#embedder = embedder;
    this.#vectors = vectors;
    this.#model = model;
  }

  /**
   * Resolves when every chunk is durable; on a throw some may be, but none is still on its way.
   * @throws RagError of embedder or store, SPACE_MISMATCH when the model has gone meanwhile, the signal's reason
   */
  async write(
    collection: string,
    chunks: readonly StoredChunk[],
    options: ChunkWriterOptions,
  ): Promise<WrittenChunks> {
    const written: WrittenChunks = { embedded: 0, truncated: 0 };
    let storing = Promise.resolve();
    try {
      for (let from = 0; from < chunks.length; from += STORE_BATCH) {
        const batch = chunks.slice(from, from + STORE_BATCH);
        const rows = await this.#withVectors(batch, written, options);
        options.onProgress('embed', from + batch.length, chunks.length);
        await storing;
        options.signal.throwIfAborted();
        storing = this.#vectors.upsert(collection, rows);
        // Awaited one batch later; until then a failure must not count as unhandled.
        storing.catch(() => {});
        options.onProgress('store', from, chunks.length);
      }
    } finally {
      await storing;
    }
    options.onProgress('store', chunks.length, chunks.length);
    return written;
  }

  async #withVectors(
    batch: readonly StoredChunk[],
    written: WrittenChunks,
    options: ChunkWriterOptions,
  ): Promise<ChunkWithVector[]> {
    const vectors = batch.map((chunk) => options.known.get(chunk.contentHash));
    const missing = batch.flatMap((chunk, index) => (vectors[index] === undefined ? [{ chunk, index }] : []));
    const calls = Array.from({ length: Math.ceil(missing.length / EMBED_BATCH) }, (_, call) =>
      missing.slice(call * EMBED_BATCH, (call + 1) * EMBED_BATCH),
    ).values();
    const failed = new AbortController();
    const signal = AbortSignal.any([options.signal, failed.signal]);
    const lane = async () => {
      for (const call of calls) {
        const texts = call.map(({ chunk }) => embeddedText(chunk.title, chunk.text));
        for (const [at, vector] of (await this.#embed(texts, written, signal)).entries()) {
          vectors[call[at]!.index] = vector;
        }
      }
    };
    try {
      await Promise.all(Array.from({ length: EMBEDS_IN_FLIGHT }, lane));
    } finally {
      // When one lane failed, the other must not go on waiting for the model server.
      failed.abort();
    }
    return batch.map((chunk, index) => ({ ...chunk, vector: vectors[index]! }));
  }

  async #embed(
    texts: readonly string[],
    written: WrittenChunks,
    signal: AbortSignal,
  ): Promise<Float32Array[]> {
    signal.throwIfAborted();
    const result = await this.#embedder.embed(texts, { space: this.#model.space, signal });
    if (result.space !== this.#model.space) {
      const { model, version, space } = result;
      const message = `${model} version ${version} answered in the space ${space} where ${this.#model.space} was asked for. Ingest the document again.`;
      throw new RagError('SPACE_MISMATCH', message);
    }
    written.embedded += texts.length;
    written.truncated += result.truncated.filter(Boolean).length;
    return result.vectors;
  }
}
