import { RagError } from '../errors.ts';
import type { CallOptions } from '../ports.ts';
import type { SearchDeps, SearchRequest, SearchResponse } from './hit.ts';

export type {
  Degradation,
  HitScoreKind,
  SearchDeps,
  SearchHit,
  SearchMode,
  SearchRequest,
  SearchResponse,
  SearchTimings,
} from './hit.ts';

/**
 * Finds the chunks that answer a query best. A source that fails is reported in `degraded`; the search fails only
 * when none is left.
 * @throws RagError INVALID_INPUT, NOT_FOUND (no such collection), SPACE_MISMATCH, CANCELLED, DEADLINE_EXCEEDED, or
 * the reason of the first source when all failed
 */
export async function search(
  _deps: SearchDeps,
  _request: SearchRequest,
  _options: CallOptions = {},
): Promise<SearchResponse> {
  throw new RagError('INTERNAL', 'not built yet');
}
