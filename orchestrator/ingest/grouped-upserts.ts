import type { ChunkWithVector, VectorStore } from '../ports.ts';

/** Rows in one call to the store at most, unless one caller brings more. */
const MAX_ROWS = 1_024;

interface Waiting {
  rows: readonly ChunkWithVector[];
  resolve: () => void;
  reject: (error: unknown) => void;
}

/**
 * Writes what several documents bring at the same time in one call: a store's commit costs the same for one row as
 * for a thousand. While one call runs, the next one's rows gather.
 */
export class GroupedUpserts {
  readonly #vectors: Pick<VectorStore, 'upsert'>;
  /** Callers that wait, by collection; a collection that is being written has an entry. */
  readonly #waiting = new Map<string, Waiting[]>();

  constructor(vectors: Pick<VectorStore, 'upsert'>) {
    this.#vectors = vectors;
  }

  /**
   * Resolves when these rows are durable and searchable.
   * @throws what the store throws for these rows; another caller's bad rows don't count
   */
  async upsert(collection: string, rows: readonly ChunkWithVector[]): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiting = this.#waiting.get(collection);
    if (waiting === undefined) {
      const first = [{ rows, resolve, reject }];
      this.#waiting.set(collection, first);
      void this.#writeAll(collection, first);
    } else {
      waiting.push({ rows, resolve, reject });
    }
    await promise;
  }

  async #writeAll(collection: string, waiting: Waiting[]): Promise<void> {
    while (waiting.length > 0) await this.#write(collection, nextGroup(waiting));
    this.#waiting.delete(collection);
  }

  async #write(collection: string, group: readonly Waiting[]): Promise<void> {
    try {
      await this.#vectors.upsert(
        collection,
        group.flatMap(({ rows }) => rows),
      );
      for (const { resolve } of group) resolve();
    } catch (thrown) {
      if (group.length === 1) group[0]!.reject(thrown);
      else for (const caller of group) await this.#write(collection, [caller]);
    }
  }
}

/** Takes as many callers from the front as fit one call. */
function nextGroup(waiting: Waiting[]): Waiting[] {
  let count = 0;
  let rows = 0;
  for (const caller of waiting) {
    rows += caller.rows.length;
    if (count > 0 && rows > MAX_ROWS) break;
    count++;
  }
  return waiting.splice(0, count);
}
