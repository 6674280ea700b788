/** Counts the chunks of each (document, revision) while a store's rows pass by. */
export class RevisionTally {
  readonly #found = new Map<string, { documentId: string; revision: string; chunks: number }>();

  add(documentId: string, revision: string): void {
    const key = JSON.stringify([documentId, revision]);
    const entry = this.#found.get(key);
    if (entry) entry.chunks += 1;
    else this.#found.set(key, { documentId, revision, chunks: 1 });
  }

  list(): { documentId: string; revision: string; chunks: number }[] {
    return [...this.#found.values()];
  }
}
