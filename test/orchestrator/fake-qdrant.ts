import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { cosine, type Scored, type Sparse, sparseDot } from './fake-qdrant-score.ts';

/** The REST calls of Qdrant that the adapter makes, with Qdrant's semantics, in memory, on a loopback port. */
export interface FakeQdrant {
  url: string;
  /** Every request so far: method, path with query, and the body as sent. */
  requests: { method: string; path: string; body: string }[];
  /** What the next requests (to a path that holds `path`) are answered with instead, first one first; each once. */
  failures: { status: number; error: string; path?: string; headers?: Record<string, string> }[];
  /** Adds a collection that someone else made. */
  addForeign(name: string): void;
  close(): Promise<void>;
}

export interface FakeQdrantOptions {
  apiKey?: string;
  /** Before 1.16 a collection's metadata is silently dropped. */
  version?: string;
  /** Path before every route, as behind a proxy. */
  prefix?: string;
}

type SparseConfig = Record<string, { modifier?: string }>;

interface Point extends Scored {
  id: string;
  payload: Record<string, unknown>;
}

interface Collection {
  config: {
    params: { vectors?: Record<string, { size: number }>; sparse_vectors?: SparseConfig };
    metadata?: unknown;
  };
  payload_schema: Record<string, unknown>;
  points: Map<string, Point>;
}

interface Condition {
  key: string;
  match: { value: unknown };
}

interface Filter {
  must?: Condition[];
  must_not?: Condition[];
}

/** What a request's body may hold; each route reads its own part. */
interface Body {
  vectors: Record<string, { size: number }>;
  sparse_vectors: SparseConfig;
  metadata?: unknown;
  field_name: string;
  field_schema: unknown;
  points: { id: string; payload: Record<string, unknown>; vector: { dense: number[]; bm25?: Sparse } }[];
  filter?: Filter;
  limit: number;
  offset?: string;
  using: 'dense' | 'bm25';
  query: number[] | Sparse;
  with_payload?: boolean | string[];
  with_vector?: boolean | string[];
}

class Refusal extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Starts the fake. */
export async function startFakeQdrant(options: FakeQdrantOptions = {}): Promise<FakeQdrant> {
  const collections = new Map<string, Collection>();
  const requests: FakeQdrant['requests'] = [];
  const failures: FakeQdrant['failures'] = [];
  const version = options.version ?? '1.18.0';
  const server = createServer(async (request, response) => {
    const body = (await buffer(request)).toString();
    requests.push({ method: request.method ?? '', path: request.url ?? '', body });
    const at = failures.findIndex(({ path = '' }) => request.url?.includes(path));
    const [failure] = at < 0 ? [] : failures.splice(at, 1);
    const { status, result } = failure
      ? { status: failure.status, result: { error: failure.error } }
      : answer(request, body, { ...options, version, collections });
    const reply = status === 200 ? { result, status: 'ok', time: 0 } : { status: result, time: 0 };
    const isRoot = request.url === `${options.prefix ?? ''}/`;
    response.writeHead(status, { 'content-type': 'application/json', ...failure?.headers });
    response.end(JSON.stringify(isRoot ? result : reply));
  });
  return {
    url: `${await listen(server)}${options.prefix ?? ''}`,
    requests,
    failures,
    addForeign: (name) =>
      collections.set(name, { config: { params: {} }, payload_schema: {}, points: new Map() }),
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

async function listen(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

type State = FakeQdrantOptions & { version: string; collections: Map<string, Collection> };

function answer(request: IncomingMessage, text: string, state: State): { status: number; result: unknown } {
  try {
    if (state.apiKey && request.headers['api-key'] !== state.apiKey) {
      throw new Refusal(401, 'Must provide an API key or an Authorization bearer token');
    }
    const url = new URL(request.url ?? '/', 'http://fake');
    if (!url.pathname.startsWith(state.prefix ?? '')) throw new Refusal(404, 'Not found');
    const path = url.pathname.slice(state.prefix?.length ?? 0);
    const [, root, name, ...action] = path.split('/').map(decodeURIComponent);
    const route = `${request.method} ${action.join('/')}`;
    if (path === '/') return { status: 200, result: { title: 'qdrant', version: state.version } };
    if (root !== 'collections') throw new Refusal(404, 'Not found');
    if (!name)
      return {
        status: 200,
        result: { collections: [...state.collections.keys()].map((one) => ({ name: one })) },
      };
    return { status: 200, result: handle(route, name, { body: parse(text), state }) };
  } catch (thrown) {
    const status = thrown instanceof Refusal ? thrown.status : 500;
    return { status, result: { error: thrown instanceof Error ? thrown.message : String(thrown) } };
  }
}

function parse(text: string): Body {
  const body: Body = JSON.parse(text || '{}', (_key, value) => {
    // As serde_json does.
    if (typeof value === 'string' && !value.isWellFormed())
      throw new Refusal(400, 'lone leading surrogate in hex escape');
    return value;
  });
  return body;
}

function handle(route: string, name: string, { body, state }: { body: Body; state: State }): unknown {
  if (route === 'PUT ') return create(name, body, state);
  if (route === 'DELETE ') return state.collections.delete(name);
  const collection = state.collections.get(name);
  if (!collection) throw new Refusal(404, `Not found: Collection \`${name}\` doesn't exist!`);
  switch (route) {
    case 'GET ': {
      const { config, payload_schema, points } = collection;
      return {
        status: 'green',
        optimizer_status: 'ok',
        segments_count: 1,
        points_count: points.size,
        config,
        payload_schema,
      };
    }
    case 'PUT index':
      collection.payload_schema[body.field_name] = { data_type: body.field_schema };
      return { status: 'completed' };
    case 'PUT points':
      // All or nothing: a point that is refused keeps the others out too.
      for (const point of body.points.map((one) => accept(one, collection)))
        collection.points.set(point.id, point);
      return { status: 'completed' };
    case 'POST points/delete':
      for (const point of matching(collection, body.filter)) collection.points.delete(point.id);
      return { status: 'completed' };
    case 'POST points/scroll':
      return scroll(collection, body);
    case 'POST points/query':
      return { points: query(collection, body) };
    default:
      throw new Refusal(404, 'Not found');
  }
}

function create(name: string, body: Body, { collections, version }: State): boolean {
  if (collections.has(name)) throw new Refusal(409, `Wrong input: Collection \`${name}\` already exists!`);
  const [, minor = 0] = version.split('.').map(Number);
  const metadata = minor >= 16 && body.metadata ? { metadata: body.metadata } : {};
  const params = { vectors: body.vectors, sparse_vectors: body.sparse_vectors };
  collections.set(name, { config: { params, ...metadata }, payload_schema: {}, points: new Map() });
  return true;
}

function accept(point: Body['points'][number], collection: Collection): Point {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(point.id)) {
    throw new Refusal(400, `value ${point.id} is not a valid point ID`);
  }
  const { dense, bm25 } = point.vector;
  const size = collection.config.params.vectors?.dense?.size;
  if (dense.length !== size) {
    throw new Refusal(400, `Wrong input: Vector dimension error: expected dim: ${size}, got ${dense.length}`);
  }
  if (
    bm25 &&
    (bm25.indices.length !== bm25.values.length || new Set(bm25.indices).size !== bm25.indices.length)
  ) {
    throw new Refusal(422, 'indices: must be unique');
  }
  // Cosine collections keep unit vectors; the length is taken in single precision.
  const single = Float32Array.from(dense);
  const length = Math.fround(Math.sqrt(single.reduce((sum, value) => Math.fround(sum + value * value), 0)));
  return {
    id: point.id,
    payload: point.payload,
    dense: length > 0 ? single.map((one) => one / length) : single,
    sparse: bm25,
  };
}

function matching(collection: Collection, filter: Filter = {}): Point[] {
  const holds = (point: Point) => (condition: Condition) =>
    point.payload[condition.key] === condition.match.value;
  return [...collection.points.values()].filter(
    (point) => (filter.must ?? []).every(holds(point)) && !(filter.must_not ?? []).some(holds(point)),
  );
}

function scroll(collection: Collection, body: Body): unknown {
  const from = body.offset ?? '';
  const rest = matching(collection, body.filter)
    .filter((point) => point.id >= from)
    .sort((one, other) => (one.id < other.id ? -1 : 1));
  const points = rest.slice(0, body.limit).map((point) => ({
    id: point.id,
    payload: selected(point.payload, body.with_payload ?? true),
    ...(Array.isArray(body.with_vector) &&
      body.with_vector.includes('dense') && { vector: { dense: [...point.dense] } }),
  }));
  return { points, next_page_offset: rest[body.limit]?.id ?? null };
}

function query(collection: Collection, body: Body): unknown[] {
  const withIdf = collection.config.params.sparse_vectors?.bm25?.modifier === 'idf';
  const all = [...collection.points.values()];
  const score = Array.isArray(body.query) ? cosine(body.query) : sparseDot(body.query, { all, withIdf });
  return all
    .map((point) => ({
      id: point.id,
      version: 0,
      score: score(point),
      payload: selected(point.payload, body.with_payload ?? false),
    }))
    .filter((hit) => hit.score !== undefined)
    .sort((one, other) => other.score! - one.score!)
    .slice(0, body.limit);
}

function selected(
  payload: Record<string, unknown>,
  fields: boolean | string[],
): Record<string, unknown> | undefined {
  if (!Array.isArray(fields)) return fields ? payload : undefined;
  return Object.fromEntries(Object.entries(payload).filter(([key]) => fields.includes(key)));
}
