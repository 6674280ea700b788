import { type InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { knownTexts, packingFault, referenceOf } from '../../model-server/backend/prove-packing.ts';
import { ProvenFiles } from '../../model-server/executor/proven-files.ts';
import { statesOf, text, useBackends } from './packed-backend.ts';
import { encoder, IDS, node } from './packing-models.ts';
import { usePools } from './pool-setup.ts';

const idCounts = new Map([['input_ids', IDS]]);
const output = 'last_hidden_state';
type Feeds = Readonly<Record<string, Tensor>>;

/** A session whose token states are made by a test: [ids.dims..., 2]. */
function session(state: (id: number, feeds: Feeds) => [number, number]): InferenceSession {
  const fake: Pick<InferenceSession, 'inputNames' | 'run'> = {
    inputNames: ['input_ids', 'attention_mask'],
    run: (feeds) => {
      const ids = feeds.input_ids as Tensor;
      const data = Float32Array.from(ids.data as BigInt64Array, Number);
      const states = Array.from(data).flatMap((id) => state(id, feeds as Feeds));
      const tensor = new Tensor('float32', Float32Array.from(states), [...ids.dims, 2]);
      return Promise.resolve({ [output]: tensor });
    },
  };
  return fake as InferenceSession;
}

const sound = () => session((id) => [id, 1 / (id + 1)]);
const prove = async (packed: InferenceSession, file: InferenceSession | undefined = sound()) =>
  packingFault(
    { session: packed, output },
    { idCounts, reference: file && (await referenceOf(file, knownTexts(idCounts))) },
  );
/** Whether several texts share the call. */
const tokensOf = (feeds: Feeds) => feeds.input_ids!.dims[1]!;
const isPlanes = (feeds: Feeds) => feeds.input_ids!.dims[0]! > 1;

describe('the proof of a rewritten graph', () => {
  it('holds for one that gives the same', async () => {
    expect(await prove(sound())).toBeUndefined();
    expect(
      await packingFault({ session: sound(), output }, { idCounts, reference: undefined }),
    ).toBeUndefined();
  });

  it('takes rounding for the same, and nothing larger', async () => {
    const off = (share: number) => session((id) => [id * (1 + share), 0.5]);
    const file = session((id) => [id, 0.5]);
    expect(await prove(off(5e-6), file)).toBeUndefined();
    expect(await prove(off(5e-5), file)).toMatch(/output last_hidden_state differs by .* file as it is/);
  });

  it.each<[string, (feeds: Feeds) => boolean, RegExp]>([
    ['texts in company', (feeds) => tokensOf(feeds) === 18, /a text of 6 tokens in company differs/],
    ['a text alone', (feeds) => tokensOf(feeds) === 11 && !isPlanes(feeds), /a text of 11 tokens in company/],
    ['planes', isPlanes, /output last_hidden_state differs/],
    [
      'texts, but no planes',
      (feeds) => !isPlanes(feeds),
      /a text of 6 tokens differs .* file as it is makes of it/,
    ],
  ])('finds a fault in %s', async (_what, isFaulty, fault) => {
    const packed = session((id, feeds) => [isFaulty(feeds) ? id + 0.1 : id, 1 / (id + 1)]);
    expect(await prove(packed)).toMatch(fault);
  });

  it('what is no number is wrong', async () => {
    const packed = session((id, feeds) => [isPlanes(feeds) ? Number.NaN : id, 1 / (id + 1)]);
    expect(await prove(packed)).toMatch(/output last_hidden_state differs/);
  });

  it('uses ids that the tables have, of every size', () => {
    for (const count of [1, 2, 5, 6, 30_000]) {
      const { tokens, lengths } = knownTexts(new Map([['input_ids', count]]));
      const total = lengths.reduce((sum, next) => sum + next, 0);
      const words = new Int32Array(tokens);
      expect(Math.max(...words.subarray(0, total))).toBeLessThan(count);
      expect(Math.max(...words.subarray(total))).toBe(0);
    }
  });
});

describe('files that have been proved', () => {
  const { open } = useBackends();
  const { makePool } = usePools();

  it('are known to all workers that come later, of whatever pool', async () => {
    const notes = async (modelFile: string) => {
      const pool = makePool({ modelFile });
      await pool.open();
      return pool.states.map(({ note }) => note);
    };
    expect(await notes('proves-one')).toEqual(['']);
    expect(await notes('proves-two')).toEqual(['']);
    expect(await notes('proves-one')).toEqual(['has been proved before']);
    expect(await notes('other')).toEqual(['']);
  });

  it('are told by a mark that other settings and other files do not have', async () => {
    const model = encoder({ nodes: [node('Relu', ['x'], output)] });
    const first = await open(model);
    const [other, basic] = [await open(model), await open(model, { graphLevel: 'basic' })];
    expect(first.provenFile).toMatch(/^all .*\.onnx \d+ \d+ /);
    expect(new Set([first, other, basic].map(({ provenFile }) => provenFile)).size).toBe(3);
    expect((await open(model, { packing: 'off' })).provenFile).toBeUndefined();
    const [states] = await statesOf(basic, [text(3, { ids: IDS })]);
    expect(states).toHaveLength(24);
  });

  it('are remembered, and the oldest are forgotten', () => {
    const files = new ProvenFiles();
    files.add(undefined);
    expect(files.marks).toEqual([]);
    for (let at = 0; at < 1100; at++) files.add(`m${at}`);
    files.add('m1099');
    expect(files.marks).toHaveLength(1000);
    expect(files.marks.at(0)).toBe('m100');
    expect(files.marks.at(-1)).toBe('m1099');
  });
});
