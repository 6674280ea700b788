import { QdrantClientResourceExhaustedError, QdrantClientTimeoutError } from '@qdrant/js-client-rest';
import { RagError } from '../errors.ts';

/** HTTP status of an error of the Qdrant client; undefined when there was no reply. */
export function statusOf(thrown: unknown): number | undefined {
  if (!(thrown instanceof Error) || !('status' in thrown)) return undefined;
  return typeof thrown.status === 'number' ? thrown.status : undefined;
}

/** Any error of the Qdrant client, for the person who runs the program. `where` is the server's URL without secrets. */
export function qdrantError(where: string, thrown: unknown): RagError {
  if (thrown instanceof RagError) return thrown;
  return new RagError('STORE_UNAVAILABLE', messageFor(where, thrown), { cause: thrown });
}

function messageFor(where: string, thrown: unknown): string {
  const status = statusOf(thrown);
  if (status === 401 || status === 403) {
    return `Qdrant at ${where} refused the API key (HTTP ${status}). Set QDRANT_API_KEY to a key that may write.`;
  }
  if (status !== undefined) return `Qdrant at ${where} answered HTTP ${status}: ${reply(thrown)}`;
  if (thrown instanceof QdrantClientTimeoutError)
    return `Qdrant at ${where} did not answer in time. Is it overloaded?`;
  if (thrown instanceof QdrantClientResourceExhaustedError) {
    return `Qdrant at ${where} takes no more requests now; it asks to wait ${thrown.retry_after} s.`;
  }
  const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
  const why = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
  return `Qdrant at ${where} can't be reached (${why}). Start it, or correct --qdrant-url.`;
}

function reply(thrown: unknown): string {
  const data = thrown instanceof Error && 'data' in thrown ? thrown.data : undefined;
  const status = typeof data === 'object' && data && 'status' in data ? data.status : data;
  const error = typeof status === 'object' && status && 'error' in status ? status.error : status;
  return String(typeof error === 'string' ? error : JSON.stringify(error)).slice(0, 300);
}
