import { EmbedService, ModelService } from '../../proto/gen/serving_pb.js';
import { ModelServer } from '../client/model-server.ts';
import { CommandFailure } from '../exit-codes.ts';
import { closedLoop } from './closed-loop.ts';
import type { Workload } from './lengths.ts';
import type { Overlay } from './overlay.ts';
import type { LoopFigures, Measured } from './point.ts';
import type { Bench } from './search.ts';
import { startServer } from './server.ts';
import { type NextText, textsOf } from './texts.ts';

/** A slow model at a high concurrency; no measurement waits longer for one answer. */
const CALL_TIMEOUT_MS = 60_000;
/** Code gets compiled and caches fill, before anything is measured. */
const WARM_UP = { concurrency: 4, durationMs: 400 };

export interface BenchOptions {
  model: string;
  overlay: Overlay;
  workload: Workload;
}

/** Measures embeddings on model servers of its own, one text in each call. */
export function openBench({ model, overlay, workload }: BenchOptions): Bench {
  return {
    async open(candidate, signal) {
      const modelRepository = await overlay.make(candidate);
      const server = await startServer({ modelRepository, maxBatchTokens: candidate.batchTokens, signal });
      const client = new ModelServer(server.grpcAddress);
      const close = async () => {
        client[Symbol.dispose]();
        await server.stop();
      };
      try {
        await refuseUnlessEmbeds(client, model);
        const next = await textsOf(workload, (texts) => countTokens(client, model, texts));
        const send = () => embed(client, model, next);
        const nowMs = () => performance.now();
        await closedLoop({ ...WARM_UP, signal, send, nowMs });
        return {
          measure: (load) => withClientCores(nowMs, () => closedLoop({ ...load, send, nowMs })),
          close,
        };
      } catch (error) {
        await close();
        throw error;
      }
    },
  };
}

async function withClientCores(nowMs: () => number, loop: () => Promise<LoopFigures>): Promise<Measured> {
  const [before, startedMs] = [process.cpuUsage(), nowMs()];
  const figures = await loop();
  const { user, system } = process.cpuUsage(before);
  return { ...figures, clientCores: (user + system) / 1000 / (nowMs() - startedMs) };
}

async function refuseUnlessEmbeds(client: ModelServer, model: string): Promise<void> {
  const { models } = await client.call(ModelService.method.listModels, {});
  const tasks = new Set(models.filter(({ name }) => name === model).flatMap((version) => version.tasks));
  if (!tasks.has('embed'))
    throw new CommandFailure(
      `model ${model} does not embed texts (it can ${[...tasks].join(', ') || 'do nothing'}), and nereid tune sends texts to embed.`,
    );
}

async function countTokens(client: ModelServer, model: string, inputs: string[]) {
  const { results, specialTokens } = await client.call(EmbedService.method.tokenize, { model, inputs });
  return { counts: results.map(({ count }) => count), specialTokens };
}

function embed(client: ModelServer, model: string, next: NextText): Promise<unknown> {
  return client.call(EmbedService.method.embed, { model, inputs: [next()] }, CALL_TIMEOUT_MS);
}
