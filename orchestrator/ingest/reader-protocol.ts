import type { Reason } from '../errors.ts';
import type { DocumentFile, ReadDocument } from './document.ts';

/** What a reader worker is asked; one file at a time. */
export type ReaderRequest = DocumentFile;

/** What a reader worker says; `read` and `failed` end the request. */
export type ReaderReply =
  | { type: 'page'; done: number; total: number }
  | { type: 'read'; document: ReadDocument }
  | { type: 'failed'; reason: Reason; message: string };
