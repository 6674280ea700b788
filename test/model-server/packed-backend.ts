import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach } from 'vitest';
import type { Forward } from '../../model-server/backend/forward-texts.ts';
import { OnnxBackend } from '../../model-server/backend/onnx.ts';
import { assemble } from '../../model-server/scheduler/assemble.ts';
import type { SessionSettings, TokenRow } from '../../model-server/types.ts';
import { int64 } from './raw-tensors.ts';
import { temporaryFolder } from './repository.ts';

/** Sessions of models in this process; all are released after each test. */
export function useBackends() {
  const folder = temporaryFolder();
  const opened: OnnxBackend[] = [];
  let files = 0;
  afterEach(async () => {
    for (const backend of opened.splice(0)) await backend.release();
  });
  afterAll(folder.remove);

  /** @param model a file, or the bytes of one */
  async function open(
    model: string | Uint8Array,
    settings: Partial<SessionSettings> = {},
  ): Promise<OnnxBackend> {
    let modelFile = model as string;
    if (typeof model !== 'string') {
      modelFile = join(folder.path, `${files++}.onnx`);
      writeFileSync(modelFile, model);
    }
    const backend = await OnnxBackend.open({ modelFile, text: true, intraOpThreads: 1, ...settings });
    opened.push(backend);
    return backend;
  }
  return { open, folder };
}

/** A text of made-up ids below `ids`. */
export function text(
  length: number,
  { ids, seed = 0, types = 1 }: { ids: number; seed?: number; types?: number },
): TokenRow {
  const at = (t: number) =>
    ids > 10 ? 5 + ((t * 7919 + seed * 104_729 + length * 31) % (ids - 5)) : t % ids;
  return {
    ids: Int32Array.from({ length }, (_, t) => at(t)),
    typeIds: types > 1 ? Int32Array.from({ length }, (_, t) => (t * 2 > length ? 1 : 0)) : undefined,
  };
}

/** What a model makes of texts that share a batch: for each its states one after another, or its one vector. */
export async function statesOf(backend: OnnxBackend, rows: readonly TokenRow[]): Promise<Float32Array[]> {
  const batch = assemble(rows.map((row) => ({ row, reduction: { kind: 'tokens' } as const })));
  const forward = await backend.runTexts(batch);
  return rows.map(({ ids }, row) => statesOfRow(forward, row, ids.length));
}

function statesOfRow({ data, width, starts, perToken }: Forward, row: number, tokens: number): Float32Array {
  return data.slice(starts[row]! * width, (starts[row]! + (perToken ? tokens : 1)) * width);
}

/** Planes of raw tensors, the texts filled up with zeros to one length, through all outputs. */
export async function planesOf(backend: OnnxBackend, rows: readonly TokenRow[]): Promise<Float32Array[]> {
  const length = Math.max(...rows.map(({ ids }) => ids.length));
  const filled = (of: (row: TokenRow, t: number) => number) =>
    rows.flatMap((row) => Array.from({ length }, (_, t) => (t < row.ids.length ? of(row, t) : 0)));
  const planes: Record<string, number[]> = {
    input_ids: filled(({ ids }, t) => ids[t]!),
    attention_mask: filled(() => 1),
    token_type_ids: filled(({ typeIds }, t) => typeIds?.[t] ?? 0),
  };
  const tensors = await backend.runTensors({
    kind: 'tensors',
    rows: rows.length,
    inputs: backend.info.inputs.map(({ name }) => int64(name, [rows.length, length], planes[name]!)),
    outputs: backend.info.outputs.map(({ name }) => name),
  });
  return tensors.map(({ data }) => new Float32Array(data.slice().buffer));
}
