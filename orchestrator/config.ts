import { z } from 'zod';

const port = z.coerce.number().int().min(0).max(65_535);
const bytes = z.coerce.number().int().positive();
const count = z.coerce.number().int().positive();

/**
 * Every setting of the orchestrator. The same name serves as flag (`--data-dir`), environment variable
 * (`NEREID_DATA_DIR`, or the one named in `env`) and key in nereid.yaml (`data-dir`).
 */
export const ragConfigSchema = z.object({
  host: z.string().min(1).default('127.0.0.1').meta({ description: 'address to listen on' }),
  port: port.default(8080).meta({ description: 'HTTP port of the orchestrator (0: any free port)' }),
  serverAddress: z
    .string()
    .regex(/^[^/\s]+:\d+$/, 'must be host:port')
    .default('127.0.0.1:8001')
    .meta({ description: 'gRPC address of the model server' }),
  embedModel: z.string().default('').meta({
    description:
      'model that embeds new collections (empty: the only one that does; of several, the one of the existing collections)',
  }),
  rerankModel: z.string().default('').meta({
    description: 'model that reranks (empty: the only cross-encoder, else the model of the collection)',
  }),
  dataDir: z
    .string()
    .min(1)
    .default('data')
    .meta({ description: 'folder for documents, jobs and the embedded vector store' }),
  samples: z
    .stringbool()
    .or(z.boolean())
    .default(true)
    .meta({ description: 'ingest the sample documents when the store is empty' }),
  qdrantUrl: z
    .url()
    .optional()
    .meta({ env: 'QDRANT_URL', description: 'Qdrant instead of the embedded vector store' }),
  qdrantApiKey: z
    .string()
    .optional()
    .meta({ env: 'QDRANT_API_KEY', secret: true, description: 'API key for Qdrant' }),
  llmBaseUrl: z.url().optional().meta({
    env: 'LLM_BASE_URL',
    description:
      'OpenAI-compatible chat API, for example https://api.openai.com/v1 (none: extractive answers)',
  }),
  llmApiKey: z
    .string()
    .optional()
    .meta({ env: 'LLM_API_KEY', secret: true, description: 'API key for the chat API' }),
  llmModel: z.string().optional().meta({ env: 'LLM_MODEL', description: 'model name for the chat API' }),
  llmContextTokens: count
    .default(6_000)
    .meta({ description: 'tokens that a prompt may take, sources included' }),
  llmAnswerTokens: count.default(800).meta({ description: 'tokens that an answer may take' }),
  chunkTokens: z.coerce
    .number()
    .int()
    .min(16)
    .default(200)
    .meta({ description: 'tokens in a chunk at most' }),
  chunkOverlapTokens: z.coerce
    .number()
    .int()
    .min(0)
    .default(30)
    .meta({ description: 'tokens that neighbouring chunks share at most, in whole sentences' }),
  maxUploadBytes: bytes
    .default(100 * 1024 * 1024)
    .meta({ description: 'bytes in one uploaded file at most' }),
  maxUploadFiles: count.default(100).meta({ description: 'files in one upload at most' }),
  maxRequestBytes: bytes
    .default(1024 * 1024 * 1024)
    .meta({ description: 'bytes in one upload at most, all its files together' }),
  maxJsonBytes: bytes.default(20 * 1024 * 1024).meta({ description: 'bytes in one JSON body at most' }),
  maxDocuments: count.default(10_000).meta({ description: 'documents in one JSON call at most' }),
  maxQueuedJobs: count.default(1_000).meta({ description: 'ingest jobs that may wait at most' }),
  readTimeoutMs: count.default(120_000).meta({ description: 'milliseconds that reading one file may take' }),
  readMemoryMb: count
    .default(512)
    .meta({ description: 'JavaScript heap in MB that reading one file may take' }),
  grpcConnections: count.default(2).meta({ description: 'gRPC channels to the model server' }),
  requestTimeoutMs: count
    .default(30_000)
    .meta({ description: 'milliseconds that a search or an answer may take' }),
  shutdownMs: count
    .default(10_000)
    .meta({ description: 'milliseconds to finish running requests on shutdown' }),
  logLevel: z
    .enum(['debug', 'info', 'warn', 'error', 'silent'])
    .default('info')
    .meta({ description: 'least level that is logged' }),
});

export type RagConfig = z.infer<typeof ragConfigSchema>;
