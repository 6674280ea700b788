import { InFlight } from '../../model-server/api/call.ts';
import { listenGrpc } from '../../model-server/api/grpc/server.ts';
import { adminRoutes } from '../../model-server/api/http/admin.ts';
import { healthRoutes } from '../../model-server/api/http/routes.ts';
import { listenHttp } from '../../model-server/api/http/server.ts';
import { servingRoutes } from '../../model-server/api/http/serving.ts';
import type { AdminPort, ServingPort } from '../../model-server/api/ports.ts';
import type { VersionReport } from '../../model-server/models/reports.ts';
import type { RolloutStatus } from '../../model-server/models/rollout/status.ts';

const MiB = 1024 * 1024;

/** A ready embedder. */
export function report(override: Partial<VersionReport> = {}): VersionReport {
  return {
    name: 'mini',
    version: 1,
    state: 'ready',
    reason: '',
    served: true,
    answers: true,
    tasks: ['embed', 'infer'],
    space: 'a1b2c3d4',
    dimension: 3,
    maxTokens: 256,
    loadMs: 12.4,
    instances: [
      {
        device: 'cpu',
        executionProvider: 'cpu',
        threads: 1,
        state: 'idle',
        isolation: 'thread',
        note: 'wanted a GPU, got cpu',
      },
    ],
    memory: {
      device: 'cpu',
      predictedBytes: 90 * MiB,
      measuredBytes: 95 * MiB,
      leases: 2,
      idleMs: 1500.2,
      keepAliveMs: -1,
    },
    selfCheck: {
      goldenTexts: 4,
      goldenMinCosine: 0.999,
      batchMinCosine: 0.987,
      batchIdentical: false,
      warnings: ['vectors depend on their neighbours'],
    },
    warnings: [],
    ...override,
  };
}

/** A rollout with a shadow and a canary under way. */
export function rollout(override: Partial<RolloutStatus> = {}): RolloutStatus {
  const distribution = { count: 40, mean: 0.99, min: 0.9, p01: 0.91, p50: 0.995 };
  return {
    model: 'mini',
    plan: {
      defaultAlias: 'stable',
      aliases: { stable: { 1: 90, 2: 10 } },
      mixedSpaces: false,
      sameSpace: [1, 2],
      shadow: { version: 2, percent: 10 },
      canary: {
        alias: 'stable',
        from: 1,
        to: 2,
        steps: [1, 10, 50, 100],
        minRequests: 200,
        guards: { maxErrorRate: 0.01 },
        step: 1,
      },
    },
    problem: '',
    traffic: [{ version: 1, requests: 900, errors: 1, p50Ms: 3.2, p99Ms: 9.5 }],
    shadows: [
      {
        version: 2,
        against: 1,
        requests: 40,
        errors: 0,
        dropped: 3,
        cosine: distribution,
        kendallTau: undefined,
        topOverlap: undefined,
        latencyRatio: { ...distribution, mean: 1.1 },
      },
    ],
    canary: {
      percent: 10,
      requests: 57,
      why: 'waits for 143 more answers of version 2',
      readings: [{ name: 'maxErrorRate', limit: 0.01, actual: 0, ok: true }],
    },
    decisions: [{ atMs: 1_700_000_000_000, what: 'started', by: 'command', why: 'from 1 to 2' }],
    ...override,
  };
}

/** Administers nothing: tells what it was asked for. */
export function fakeAdmin(override: Partial<AdminPort> = {}): AdminPort & { asked: unknown[][] } {
  const asked: unknown[][] = [];
  const note =
    <T>(name: string, answer: T) =>
    (...args: unknown[]): T => {
      asked.push([name, ...args]);
      return answer;
    };
  const rows = [{ owner: 'mini 1', ...report().memory! }];
  const device = {
    device: 'cpu',
    limitBytes: 1024 * MiB,
    baseBytes: 60 * MiB,
    usedBytes: 155 * MiB,
    residentBytes: 160 * MiB,
    rows,
  };
  const details = {
    ...report(),
    folder: '/models/mini/1',
    effectiveConfig: [
      { field: 'pooling', value: 'mean', source: '1_Pooling/config.json pooling_mode_mean_tokens' },
    ],
    inputs: ['input_ids INT64 [-1, -1]'],
    outputs: ['last_hidden_state FP32 [-1, -1, 3]'],
  };
  const comparison = {
    a: 1,
    b: 2,
    verdict: 'near' as const,
    why: 'mean cosine 0.997 of 24 texts',
    texts: 24,
    minCosine: 0.96,
    meanCosine: 0.997,
    neighbourOverlap: 0.93,
  };
  return {
    asked,
    list: () => [
      report(),
      report({ version: 2, answers: false, state: 'failed', reason: 'torn file', memory: undefined }),
    ],
    readiness: () => ({ ready: true, models: [report()] }),
    show: note('show', Promise.resolve([details])),
    load: note('load', Promise.resolve([report()])),
    unload: note('unload', Promise.resolve([report({ state: 'unloaded' })])),
    drain: note('drain', undefined),
    rolloutStatus: note('rolloutStatus', rollout()),
    setTraffic: note('setTraffic', Promise.resolve(rollout())),
    setShadow: note('setShadow', Promise.resolve(rollout())),
    startCanary: note('startCanary', Promise.resolve(rollout())),
    promote: note('promote', Promise.resolve(rollout())),
    rollBack: note('rollBack', Promise.resolve(rollout())),
    compare: note('compare', Promise.resolve(comparison)),
    memory: () => [device],
    cleanUp: note('cleanUp', Promise.resolve({ evicted: ['mini 2'], freedBytes: 90 * MiB })),
    ...override,
  };
}

/** Answers nothing; a test overrides what it calls. */
export function fakeServing(override: Partial<ServingPort> = {}): ServingPort {
  const refuse = () => Promise.reject(new Error('this test does not serve that'));
  return { embed: refuse, rerank: refuse, tokenize: refuse, infer: refuse, signature: refuse, ...override };
}

export interface FakeServerOptions {
  serving?: ServingPort;
  admin?: AdminPort;
  adminKey?: string;
  explicitControl?: boolean;
  maxMessageBytes?: number;
}

/** The whole api over made-up models, on real sockets. */
export async function startApi(options: FakeServerOptions = {}) {
  const { serving = fakeServing(), admin = fakeAdmin(), adminKey, explicitControl = true } = options;
  const { maxMessageBytes = 64 * MiB } = options;
  const logged: { level: string; fields: Record<string, unknown>; message: string }[] = [];
  const write = (level: string) => (fields: Record<string, unknown>, message: string) =>
    void logged.push({ level, fields, message });
  const log = { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') };
  const host = '127.0.0.1';
  const calls: { method: string; reason: string }[] = [];
  const deps = {
    serving,
    admin,
    adminRule: { adminKey, host },
    explicitControl,
    serverVersion: '1.2.3',
    metrics: { requestDone: (call: { method: string; reason: string }) => void calls.push(call) },
    log: log as never,
    maxInputsPerCall: 100,
    inFlight: new InFlight(),
  };
  const grpc = await listenGrpc(deps, { host, port: 0, maxMessageBytes });
  const routes = {
    ...healthRoutes(admin, { draining: false, version: '1.2.3' }),
    ...servingRoutes(deps, { maxMessageBytes }),
    ...adminRoutes(deps),
  };
  const http = await listenHttp(routes, { host, port: 0, flag: '--http-port' });
  const close = async () => {
    http.destroy();
    await Promise.all([grpc.close(), http.close()]);
  };
  return { grpcPort: grpc.port, httpPort: http.port, http, inFlight: deps.inFlight, logged, calls, close };
}

/** One call of an AdminService method over HTTP; text and bytes are sent as they are. */
export async function postAdmin(
  port: number,
  method: string,
  body: unknown,
  headers: Record<string, string> = {},
) {
  const reply = await fetch(`http://127.0.0.1:${port}/nereid.admin.v1.AdminService/${method}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' || body instanceof Buffer ? body : JSON.stringify(body),
  });
  // What is in it is for the assertions to say.
  const answer = JSON.parse(await reply.text());
  return { status: reply.status, headers: reply.headers, body: answer };
}
