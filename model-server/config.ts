import { z } from 'zod';

const port = z.coerce.number().int().min(0).max(65_535);
const count = z.coerce.number().int().positive();
const wholeNumber = z.coerce.number().int().min(0);
const toggle = z.stringbool().or(z.boolean());

/**
 * Every setting of the model server. The same name serves as flag (`--grpc-port`), environment variable
 * (`NEREID_GRPC_PORT`) and key in nereid.yaml (`grpc-port`).
 */
export const serverConfigSchema = z.object({
  host: z.string().min(1).default('127.0.0.1').meta({ description: 'address to listen on' }),
  grpcPort: port.default(8001).meta({ description: 'gRPC port (0: any free port)' }),
  httpPort: port
    .default(8000)
    .meta({ description: 'HTTP port for calls as JSON or protobuf, health and version (0: any free port)' }),
  metricsPort: port.default(8002).meta({ description: 'port of the Prometheus metrics (0: any free port)' }),
  modelRepository: z
    .string()
    .min(1)
    .default('model-repository')
    .meta({ description: 'folder that holds the models' }),
  modelControlMode: z.enum(['none', 'poll', 'explicit']).default('poll').meta({
    description:
      'none: what is there at the start is served; poll: the repository is watched; explicit: only what --load-model names and what is loaded by command',
  }),
  repositoryPollSecs: z.coerce
    .number()
    .positive()
    .default(5)
    .meta({ description: 'seconds between two looks at the repository and at rollout.yaml' }),
  loadModel: z.string().default('').meta({
    description: 'models to load at the start in explicit mode, with commas between them (*: all)',
  }),
  preload: z.string().min(1).default('all').meta({
    description:
      'models to load at the start: all, none, or names with commas between them; the others load on their first request',
  }),
  exitOnError: toggle.default(false).meta({
    description: 'end when any model fails to load at the start (else only in mode none, when none works)',
  }),
  strictReadiness: toggle.default(true).meta({
    description: 'be ready only when every model is (else as soon as requests are taken)',
  }),
  keepAliveSecs: z.coerce.number().min(-1).default(-1).meta({
    description: 'idle seconds after which a model is unloaded until its next request (-1: never)',
  }),
  memoryBudgetMb: wholeNumber.default(0).meta({
    description:
      'resident memory of the server in MB; idle models are unloaded to keep within it (0: 80 % of the machine or its cgroup)',
  }),
  gpuMemoryBudgetMb: wholeNumber
    .default(0)
    .meta({ description: 'memory of each GPU that models may take, in MB (0: not counted)' }),
  memoryFloorMb: wholeNumber.default(0).meta({
    description:
      'free memory of the machine or cgroup in MB below which idle models are unloaded at once, and loads are refused (0: 5 % of the total, 2000 at most)',
  }),
  memoryCheckMs: count.default(5000).meta({
    description: 'milliseconds between two looks at free memory and at models that were idle for too long',
  }),
  executionProvider: z.enum(['auto', 'cpu', 'cuda', 'webgpu', 'coreml', 'dml']).default('auto').meta({
    description: 'what models run on where their config leaves it open (auto: a GPU when there is one)',
  }),
  warmUpMs: wholeNumber.default(10_000).meta({
    description: 'milliseconds that warming up one model may take at most (0: the first pass only)',
  }),
  watchdogMs: count.default(60_000).meta({
    description:
      'milliseconds after which an instance that does not finish its batch is taken for dead (20 times what the batch should take, if that is more; a load may take ten times that, and at least ten minutes)',
  }),
  instances: z.coerce.number().int().min(0).default(0).meta({
    description:
      'instances (worker threads) per model where its config names none (0: one per core, or what has been measured to be best)',
  }),
  intraOpThreads: wholeNumber
    .default(0)
    .meta({ description: 'threads inside one instance (0: 1, or what has been measured to be best)' }),
  tuneMs: wholeNumber.default(1500).meta({
    description:
      'milliseconds that the first load of a model on a machine may spend on finding the best instances and threads, where neither its config nor --instances or --intra-op-threads names any (0: none; one instance per core)',
  }),
  cacheDir: z.string().default('').meta({
    description:
      'folder that remembers what has been measured on this machine (empty: nereid in $XDG_CACHE_HOME or ~/.cache)',
  }),
  packing: z.enum(['auto', 'off']).default('auto').meta({
    description:
      'whether texts run without padding (auto: where the graph of a model can be rewritten for it; off: never)',
  }),
  maxBatchItems: count.default(32).meta({ description: 'texts in one batch at most' }),
  maxBatchTokens: count
    .default(512)
    .meta({ description: 'padded tokens in one batch at most (one text may always run alone)' }),
  batchOverheadTokens: z.coerce.number().min(0).default(8).meta({
    description:
      'what a batch costs before its first token, counted in tokens; more makes batches wider, less makes them more equal',
  }),
  admission: z.enum(['deadline', 'fifo']).default('deadline').meta({
    description:
      "deadline: calls that can't be answered within their deadline are refused at once; fifo: everything is queued and run in order, however late (to compare with)",
  }),
  maxQueueItems: count.default(20_000).meta({ description: 'texts that may wait for one model at most' }),
  maxQueueTokens: count
    .default(2_000_000)
    .meta({ description: 'tokens that may wait for one model at most' }),
  embeddingCacheMb: wholeNumber
    .default(64)
    .meta({ description: 'memory for vectors of texts that were embedded before, in MB (0: none are kept)' }),
  embeddingCacheTtlSecs: wholeNumber
    .default(3600)
    .meta({ description: 'seconds that such a vector is kept at most (0: until its room is needed)' }),
  embeddingCacheDir: z.string().default('').meta({
    description: 'folder for such vectors, to have them after a restart (none: memory only)',
  }),
  embeddingCacheDiskMb: count.default(1024).meta({ description: 'MB in that folder at most' }),
  maxInputsPerCall: count.default(10_000).meta({ description: 'texts in one call at most' }),
  maxMessageBytes: count
    .default(64 * 1024 * 1024)
    .meta({ description: 'bytes in one message at most, over gRPC and HTTP' }),
  maxRespawns: count
    .default(5)
    .meta({ description: 'times that a crashed instance is started again within a minute' }),
  drainMs: count.default(10_000).meta({ description: 'milliseconds to finish running requests on shutdown' }),
  drainDelayMs: wholeNumber.default(0).meta({
    description:
      'milliseconds that the server says "not ready" and still serves before it shuts down, for load balancers to notice',
  }),
  adminKey: z.string().default('').meta({
    description: 'key that admin calls must bring (none: they are taken from this machine only)',
    secret: true,
  }),
  logLevel: z
    .enum(['debug', 'info', 'warn', 'error', 'silent'])
    .default('info')
    .meta({ description: 'least level that is logged' }),
});

export type ServerConfig = z.infer<typeof serverConfigSchema>;
