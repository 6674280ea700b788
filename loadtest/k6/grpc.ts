import grpc from 'k6/net/grpc';
import type { Baseline } from './baseline.ts';
import { handleSummary as files, iterate, setup as measure, plan, type Script } from './drive.ts';
import { grpcCode, type Outcome, outcomeOf } from './outcome.ts';
import type { SummaryData } from './summary.ts';
import { newPassages, newQuestion } from './texts.ts';

/** The model server's gRPC: `k6 run -e SCENARIO=smoke -e GRPC_ADDRESS=127.0.0.1:8001 loadtest/k6/grpc.ts`. */
const address = __ENV.GRPC_ADDRESS ?? '127.0.0.1:8001';
const client = new grpc.Client();
client.load(['../../proto'], 'serving.proto');
const DEADLINE = '10s';
const PASSAGES = 8;
let isConnected = false;

const script: Script = {
  name: 'Model server over gRPC',
  kinds: {
    embed: { share: 8, send: () => call('EmbedService/Embed', { inputs: [newQuestion()] }, 'embeddings', 1) },
    embed_passages: {
      share: 1,
      send: () => call('EmbedService/Embed', { inputs: newPassages(PASSAGES) }, 'embeddings', PASSAGES),
    },
    rerank: {
      share: 1,
      send: () => {
        const request = { query: newQuestion(), documents: newPassages(PASSAGES) };
        return call('RerankService/Rerank', request, 'results', PASSAGES);
      },
    },
  },
};
const planned = plan(script);

export const options = planned.options;

export function setup(): Baseline {
  return measure(script);
}

export default function run(baseline: Baseline): void {
  iterate(script, baseline, planned);
}

export function handleSummary(data: SummaryData): Record<string, string> {
  return files(script, data);
}

/** One call, whose answer must hold a list of so many. */
function call(method: string, request: object, list: string, count: number): Outcome {
  // Each caller has a connection of its own, as separate clients do.
  if (!isConnected) client.connect(address, { plaintext: true });
  isConnected = true;
  const { status, message } = client.invoke(`nereid.serving.v1.${method}`, request, { timeout: DEADLINE });
  if (status !== grpc.StatusOK) return outcomeOf(`ended with ${grpcCode(status)}`, grpcCode(status));
  const found = (message as Record<string, unknown[] | undefined>)[list]?.length;
  return outcomeOf(found === count ? undefined : `${found} ${list} came back for ${count}`);
}
