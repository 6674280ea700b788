import { Index, makeArrowTable } from '@lancedb/lancedb';
import { type Table as ArrowTable, Field, FixedSizeList, Float32, Int32, Schema, Utf8 } from 'apache-arrow';
import type { ChunkWithVector, CollectionInfo, StoredChunk } from '../ports.ts';
import { englishStopWords } from './english-stop-words.ts';

/** Column that full text is searched in: the title twice, then the text, each on its own line. */
export const searchColumn = 'search_text';

const spaceKey = 'nereid.space';

/** A row as LanceDB gives it back. Column names are lower case because SQL filters fold case. */
export interface Row {
  chunk_id: string;
  document_id: string;
  revision: string;
  ordinal: number;
  start_offset: number;
  end_offset: number;
  page: number | null;
  page_end: number | null;
  page_end_offset: number | null;
  title: string;
  search_text: string;
  content_hash: string;
}

/** Columns of a chunk without its vector. */
export const chunkColumns: readonly (keyof Row)[] = [
  'chunk_id',
  'document_id',
  'revision',
  'ordinal',
  'start_offset',
  'end_offset',
  'page',
  'page_end',
  'page_end_offset',
  'title',
  'search_text',
  'content_hash',
];

const nullable = new Set<keyof Row>(['page', 'page_end', 'page_end_offset']);
const numeric = new Set<keyof Row>([
  'ordinal',
  'start_offset',
  'end_offset',
  'page',
  'page_end',
  'page_end_offset',
]);

/** Schema of a collection's table; the space travels in its metadata, so it can't be parted from the vectors. */
export function tableSchema(info: CollectionInfo): Schema {
  const columns = chunkColumns.map((name) =>
    Field.new({ name, type: numeric.has(name) ? new Int32() : new Utf8(), nullable: nullable.has(name) }),
  );
  const vector = new FixedSizeList(info.dimension, new Field('item', new Float32(), false));
  return new Schema([...columns, new Field('vector', vector, false)], new Map([[spaceKey, info.space]]));
}

/** What a table holds; undefined when it is not one of ours. */
export function collectionOf(name: string, schema: Schema): CollectionInfo | undefined {
  const space = schema.metadata.get(spaceKey);
  // Not `instanceof`: LanceDB loads the CommonJS copy of apache-arrow, and its classes are others than ours.
  const type: unknown = schema.fields.find((field) => field.name === 'vector')?.type;
  const dimension = typeof type === 'object' && type && 'listSize' in type ? type.listSize : undefined;
  if (space === undefined || typeof dimension !== 'number') return undefined;
  return { name, space, dimension };
}

/**
 * BM25 with English stemming. Words are cut by ICU, so languages that write no spaces are searchable too; the stop
 * words are named because ICU tokenizers otherwise drop those of every language at once, "dog" and "cat" among them.
 */
export function fullTextIndex(): Index {
  return Index.fts({
    baseTokenizer: 'icu/split',
    language: 'English',
    stem: true,
    removeStopWords: true,
    customStopWords: [...englishStopWords],
    lowercase: true,
    asciiFolding: true,
    withPosition: false,
  });
}

/** Rows for LanceDB; of chunks with the same id the last one counts. */
export function toTable(chunks: readonly ChunkWithVector[], schema: Schema): ArrowTable {
  const rows = new Map<string, Record<string, unknown>>();
  for (const chunk of chunks) rows.set(chunk.chunkId, { ...toRow(chunk), vector: chunk.vector });
  return makeArrowTable([...rows.values()], { schema });
}

function toRow(chunk: StoredChunk): Row {
  return {
    chunk_id: chunk.chunkId,
    document_id: chunk.documentId,
    revision: chunk.revision,
    ordinal: chunk.ordinal,
    start_offset: chunk.start,
    end_offset: chunk.end,
    page: chunk.page ?? null,
    page_end: chunk.pageEnd ?? null,
    page_end_offset: chunk.pageEndOffset ?? null,
    title: chunk.title,
    search_text: titlePart(chunk.title) + chunk.text,
    content_hash: chunk.contentHash,
  };
}

export function fromRow(row: Row): StoredChunk {
  return {
    chunkId: row.chunk_id,
    documentId: row.document_id,
    revision: row.revision,
    ordinal: row.ordinal,
    start: row.start_offset,
    end: row.end_offset,
    ...(row.page === null ? {} : { page: row.page }),
    ...(row.page_end === null ? {} : { pageEnd: row.page_end }),
    ...(row.page_end_offset === null ? {} : { pageEndOffset: row.page_end_offset }),
    title: row.title,
    text: row.search_text.slice(titlePart(row.title).length),
    contentHash: row.content_hash,
  };
}

// Twice, because a word in the title says more than one in the text (Cranfield: nDCG@10 0.526 against 0.521 for once).
function titlePart(title: string): string {
  return title === '' ? '' : `${title}\n${title}\n`;
}

/** A string literal of LanceDB's SQL: quotes are doubled, nothing else is special. */
export function sqlString(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}
