import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { afterEach, describe, expect, it } from 'vitest';
import { TextTokenizer } from '../../model-server/tasks/tokenizer.ts';
import { tensorModel, textEncoder, writeTextModel, writeTinyTokenizer } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of cleanUp.splice(0).reverse()) await undo();
});

async function open(model: Uint8Array | string): Promise<InferenceSession> {
  // The types know each form of a model as an overload of its own.
  const session = await (typeof model === 'string'
    ? InferenceSession.create(model)
    : InferenceSession.create(model));
  cleanUp.push(() => session.release());
  return session;
}

const int64 = (rows: number[][]) =>
  new Tensor('int64', BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0]!.length]);

async function runText(session: InferenceSession, ids: number[][]): Promise<Tensor> {
  const feeds = {
    input_ids: int64(ids),
    attention_mask: int64(ids.map((row) => row.map((id) => (id === 0 ? 0 : 1)))),
  };
  const outputs = await session.run(feeds);
  return outputs[session.outputNames[0]!]!;
}

describe('a text encoder', () => {
  it('gives each token the same state alone and among others', async () => {
    const session = await open(textEncoder({ width: 4 }));
    const alone = await runText(session, [[2, 7, 3]]);
    const batch = await runText(session, [
      [2, 9, 3],
      [2, 7, 3],
    ]);
    expect(alone.dims).toEqual([1, 3, 4]);
    expect(batch.data.slice(12)).toEqual(alone.data);
  });

  it('depends on its neighbours when told to', async () => {
    const session = await open(textEncoder({ neighbours: true, width: 4 }));
    const alone = await runText(session, [[2, 7, 3]]);
    const batch = await runText(session, [
      [2, 9, 3],
      [2, 7, 3],
    ]);
    expect(batch.data.slice(12)).not.toEqual(alone.data);
  });

  it('has a head of labels that ignores padding', async () => {
    const session = await open(textEncoder({ labels: 1 }));
    const short = await runText(session, [[2, 7, 3]]);
    const padded = await runText(session, [[2, 7, 3, 0]]);
    expect(short.dims).toEqual([1, 1]);
    expect(padded.data[0]).toBeCloseTo(short.data[0] as number, 6);
  });

  it('can keep its table outside of the model file, and be as large as wanted', async () => {
    const folder = temporaryFolder();
    cleanUp.push(folder.remove);
    const model = writeTextModel(folder.path, 'm', { external: 'weights.bin', weightBytes: 1_000_000 });
    const outside = await runText(await open(join(model, '1', 'model.onnx')), [[2, 7, 3]]);
    const inside = await runText(await open(textEncoder()), [[2, 7, 3]]);
    expect(outside.data).toEqual(inside.data);
  });

  it.each([{ opset: 999 }])('is refused by the runtime with %o', async (options) => {
    await expect(open(textEncoder(options))).rejects.toThrow(/opset/i);
  });
});

it('a model of raw tensors adds to floats and passes integers and strings on', async () => {
  const session = await open(tensorModel({ bias: 0.5, dims: ['batch', 2] }));
  const outputs = await session.run({
    x: new Tensor('float32', [1, 2], [1, 2]),
    n: new Tensor('int64', [3n, 4n], [1, 2]),
    s: new Tensor('string', ['a', 'ä'], [1, 2]),
  });
  expect(outputs.y!.data).toEqual(Float32Array.of(1.5, 2.5));
  expect(outputs.n_same!.data).toEqual(BigInt64Array.of(3n, 4n));
  expect(outputs.s_same!.data).toEqual(['a', 'ä']);
});

it('the tiny tokenizer knows every word of letters', async () => {
  const folder = temporaryFolder();
  cleanUp.push(folder.remove);
  writeTinyTokenizer(folder.path);
  const tokenizer = TextTokenizer.load([folder.path]);
  const [hello, zebra] = await tokenizer.idsOf(['Hello, world!', 'zebra']);
  expect(hello).toHaveLength(4);
  expect(zebra).toHaveLength(5);
  expect([...hello!, ...zebra!].every((id) => id > 4 && id < 128)).toBe(true);
  expect(tokenizer.specialTokens).toBe(2);
});
