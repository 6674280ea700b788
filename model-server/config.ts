import { z } from 'zod';

const port = z.coerce.number().int().min(0).max(65_535);
const count = z.coerce.number().int().positive();

/**
 * Every setting of the model server. The same name serves as flag (`--grpc-port`), environment variable
 * (`NEREID_GRPC_PORT`) and key in nereid.yaml (`grpc-port`).
 */
export const serverConfigSchema = z.object({
  host: z.string().min(1).default('127.0.0.1').meta({ description: 'address to listen on' }),
  grpcPort: port.default(8001).meta({ description: 'gRPC port (0: any free port)' }),
  httpPort: port.default(8000).meta({ description: 'HTTP port for health and version (0: any free port)' }),
  metricsPort: port.default(8002).meta({ description: 'port of the Prometheus metrics (0: any free port)' }),
  modelRepository: z
    .string()
    .min(1)
    .default('model-repository')
    .meta({ description: 'folder that holds the models' }),
  instances: z.coerce.number().int().min(0).default(0).meta({
    description: 'instances (worker threads) per model where its config names none (0: one per core)',
  }),
  intraOpThreads: count.default(1).meta({ description: 'threads inside one instance' }),
  maxBatchItems: count.default(32).meta({ description: 'texts in one batch at most' }),
  maxBatchTokens: count
    .default(512)
    .meta({ description: 'padded tokens in one batch at most (one text may always run alone)' }),
  batchOverheadTokens: z.coerce.number().min(0).default(8).meta({
    description:
      'what a batch costs before its first token, counted in tokens; more makes batches wider, less makes them more equal',
  }),
  maxQueueItems: count.default(20_000).meta({ description: 'texts that may wait for one model at most' }),
  maxQueueTokens: count
    .default(2_000_000)
    .meta({ description: 'tokens that may wait for one model at most' }),
  maxInputsPerCall: count.default(10_000).meta({ description: 'texts in one call at most' }),
  maxMessageBytes: count.default(64 * 1024 * 1024).meta({ description: 'bytes in one gRPC message at most' }),
  maxRespawns: count
    .default(5)
    .meta({ description: 'times that a crashed instance is started again within a minute' }),
  drainMs: count.default(10_000).meta({ description: 'milliseconds to finish running requests on shutdown' }),
  logLevel: z
    .enum(['debug', 'info', 'warn', 'error', 'silent'])
    .default('info')
    .meta({ description: 'least level that is logged' }),
});

export type ServerConfig = z.infer<typeof serverConfigSchema>;
