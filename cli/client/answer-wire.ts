/** What the orchestrator sends about an answer, as far as the command line shows it. */
export interface WireSource {
  number: number;
  title: string;
  document_id: string;
  page?: number;
  page_end?: number;
  text: string;
}

export interface WireCitation extends Omit<WireSource, 'text'> {
  quote: string;
}

export interface WireDegradation {
  source: string;
  reason: string;
  message: string;
}

export interface WireAnswer {
  answer: string;
  mode: 'llm' | 'extractive';
  model?: string;
  found: boolean;
  citations: WireCitation[];
  sources: WireSource[];
  degraded: WireDegradation[];
  timings: { total_ms: number };
}

export type WireAnswerEvent =
  | { type: 'sources' | 'citation' }
  | { type: 'delta'; text: string }
  | ({ type: 'done' } & WireAnswer)
  | { type: 'error'; reason: string; message: string };

export interface WireHit extends Omit<WireSource, 'number'> {
  score: number;
  sources: Partial<Record<'dense' | 'keyword' | 'rerank', { rank: number }>>;
}

export interface WireHits {
  hits: WireHit[];
  mode: string;
  score_kind: string;
  degraded: WireDegradation[];
  timings: { total_ms: number };
}
