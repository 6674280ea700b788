import { cpuInstances } from '../../model-server/executor/devices.ts';
import { Pool } from '../../model-server/executor/pool.ts';
import { assemble } from '../../model-server/scheduler/assemble.ts';
import { prepareTexts } from '../../model-server/tasks/embed.ts';
import { TextTokenizer } from '../../model-server/tasks/tokenizer.ts';

/** A model on one instance, and its texts as vectors: each alone, or all in one batch. The caller closes the pool. */
export async function openEmbedder(modelFile: string, tokenizerFolder: string) {
  const owner = 'model m version 1';
  const pool = new Pool({
    owner,
    session: { modelFile, pooling: 'mean', normalize: true, text: true, intraOpThreads: 1 },
    instances: cpuInstances(1),
    watchdogMs: 0,
    maxRespawns: 0,
  });
  await pool.open();
  const tokenizer = TextTokenizer.load([tokenizerFolder]);
  const embed = async (texts: readonly string[], together: boolean): Promise<Float32Array[]> => {
    const encoded = await prepareTexts(tokenizer, texts, { owner, maxTokens: 256, truncate: 'end' });
    const rows = encoded.map(({ row }) => ({ row, reduction: { kind: 'pooled' as const } }));
    const vectors: Float32Array[] = [];
    for (const batch of together ? [rows] : rows.map((row) => [row]))
      vectors.push(...(await pool.take()!.run(assemble(batch))).outputs);
    return vectors;
  };
  return { pool, embed };
}
