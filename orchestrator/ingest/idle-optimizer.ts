import { RagError } from '../errors.ts';
import type { VectorStore } from '../ports.ts';
import type { IngestLog } from './ingest-log.ts';

/** Lets the vector store tidy the collections that changed, once there is nothing to ingest. */
export class IdleOptimizer {
  readonly #vectors: Pick<VectorStore, 'optimize'>;
  readonly #log: IngestLog | undefined;
  readonly #changed = new Set<string>();
  #work: Promise<void> = Promise.resolve();

  constructor(vectors: Pick<VectorStore, 'optimize'>, log: IngestLog | undefined) {
    this.#vectors = vectors;
    this.#log = log;
  }

  /** Notes that a collection changed. */
  changed(collection: string): void {
    this.#changed.add(collection);
  }

  /** Begins to tidy what changed; a failure is only logged, since searches work without. */
  run(): void {
    const collections = [...this.#changed];
    this.#changed.clear();
    if (collections.length > 0) this.#work = this.#work.then(() => this.#optimize(collections));
  }

  /** Resolves when nothing is being tidied. */
  settled(): Promise<void> {
    return this.#work;
  }

  async #optimize(collections: readonly string[]): Promise<void> {
    for (const collection of collections) {
      try {
        await this.#vectors.optimize(collection);
      } catch (thrown) {
        const { message } = RagError.from(thrown);
        this.#log?.warn({ collection, error: message }, 'the vector store could not be optimized');
      }
    }
  }
}
