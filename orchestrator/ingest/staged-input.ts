/** A file that lies complete and durable in the staging area. */
export interface Staged {
  /** Bare name in the staging folder. */
  stagedFile: string;
  bytes: number;
  /** SHA-256 (hex) of the bytes. */
  sha256: string;
}

/** One document to ingest: staged bytes and what the caller said about them. */
export interface StagedInput extends Staged {
  /** The caller's id, 1 to 512 characters; without one, `documentId()` derives it. */
  documentId?: string | undefined;
  /** The caller's title; without one, the document's own is taken, or its file name. */
  title?: string | undefined;
  /** File name or URI as the caller gave it; '' for bare text. */
  source: string;
  /** As the caller gave it; '' when unknown. What the bytes show counts more. */
  mediaType: string;
  metadata?: Record<string, unknown> | undefined;
}
