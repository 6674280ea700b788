import type { Readable } from 'node:stream';
import type { Staged } from './staged-input.ts';

/** The folder where uploads wait for their ingest: `<dataDir>/staging`. A file in it is complete and durable. */
export class Staging {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Opens the staging area of a data folder, making it when it is not there. */
  static open(_dataDir: string): Promise<Staging> {
    throw new Error('not built yet');
  }

  /**
   * Writes a source to a new staged file; on any failure nothing is left behind.
   * @throws RagError TOO_LARGE (more than `maxBytes`), CANCELLED, STORE_UNAVAILABLE (disk)
   */
  write(
    _source: Readable | Uint8Array | string,
    _options: { maxBytes: number; signal?: AbortSignal | undefined },
  ): Promise<Staged> {
    throw new Error('not built yet');
  }

  /** Removes a staged file; one that is gone already is fine. */
  discard(_stagedFile: string): Promise<void> {
    throw new Error('not built yet');
  }
}
