import { mkdir, mkdtemp, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { configJson, configText } from '../../cli/tune/config-text.ts';
import { durationMs } from '../../cli/tune/duration.ts';
import { meanLength, mixes, readAccessLog, readLengths, sampleLengths } from '../../cli/tune/lengths.ts';
import { openOverlay } from '../../cli/tune/overlay.ts';
import { textsOf } from '../../cli/tune/texts.ts';
import { parseTextProto } from '../../model-server/models/repository/text-proto.ts';
import { tritonSchema } from '../../model-server/models/repository/triton-schema.ts';
import { inCheckout } from './spawned.ts';

const candidate = { instances: 3, threads: 2, batchTokens: 1024, queueDelayUs: 500 };

/** A temporary folder that goes with the test. */
async function folder(files: Record<string, string> = {}): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'tune-test-'));
  onTestFinished(() => rm(root, { recursive: true }));
  for (const [name, contents] of Object.entries(files)) {
    await mkdir(join(root, name, '..'), { recursive: true });
    await writeFile(join(root, name), contents);
  }
  return root;
}

describe('durations', () => {
  test.each([
    ['50ms', 50],
    ['0.2s', 200],
    ['800us', 0.8],
    [' 1 s ', 1000],
  ])('%j is %d ms', (text, expected) => expect(durationMs(text)).toBeCloseTo(expected, 9));

  test.each(['', '50', 'ms', '-5ms', '0s', '5m', '1e3ms', '50 ms 3'])('%j is none', (text) => {
    expect(() => durationMs(text)).toThrow(/such as 50ms or 0\.2s/);
  });
});

describe('the configuration of a candidate', () => {
  /** As the server itself reads it. */
  const read = (text: string) => tritonSchema.parse(parseTextProto(text));

  test.each([
    ['none at all', ''],
    ['others', 'max_batch_size: 8\nbackend: "onnxruntime"'],
    ['a list', 'instance_group [ { count: 1 kind: KIND_CPU }, { count: 2 } ] max_batch_size: 8'],
    ['messages', 'instance_group { count: 1 }\ninstance_group: { count: 2 } # two\nmax_batch_size: 8'],
    ['its own threads', 'parameters { key: "intra_op_thread_count" value: { string_value: "8" } }'],
    ['them in a list', `parameters: [ { key: 'intra_op_thread_count' value < string_value: "8" > } ]`],
    ['braces in texts', 'parameters { key: "a}" value: { string_value: "{ # \\" }" } }\nmax_batch_size: 8'],
  ])('stands in place of what was there: %s', (_what, text) => {
    const { instance_group, parameters, dynamic_batching, ...rest } = read(configText(text, candidate));
    expect(instance_group).toMatchObject([{ count: 3, kind: 'KIND_CPU' }]);
    const threads = parameters.filter(({ key }) => key === 'intra_op_thread_count');
    expect(threads).toEqual([{ key: 'intra_op_thread_count', value: { string_value: '2' } }]);
    expect(dynamic_batching?.max_queue_delay_microseconds).toBe(500);
    const before = read(text);
    const { instance_group: _, parameters: __, dynamic_batching: ___, ...restBefore } = before;
    expect(rest).toEqual(restBefore);
    const others = ({ key }: { key: string }) => key !== 'intra_op_thread_count';
    expect(parameters.filter(others)).toEqual(before.parameters.filter(others));
  });

  test('keeps the other fields of dynamic_batching', () => {
    const text =
      'dynamic_batching {\n  preferred_batch_size: [ 4, 8 ]\n  max_queue_delay_microseconds: 9\n  default_queue_policy { max_queue_size: 7 }\n}';
    expect(read(configText(text, candidate)).dynamic_batching).toMatchObject({
      preferred_batch_size: [4, 8],
      max_queue_delay_microseconds: 500,
      default_queue_policy: { max_queue_size: 7 },
    });
  });

  test('changes nothing else of the shipped one, comments included', async () => {
    const text = await readFile(inCheckout('model-repository/all-minilm-l6-v2/config.pbtxt'), 'utf8');
    const tuned = configText(text, candidate);
    const added = configText('', candidate).trim().split('\n');
    const kept = text.split('\n').filter((line) => line !== '' && !/^(instance_group|dynamic_b)/.test(line));
    expect(tuned.split('\n').filter((line) => line !== '')).toEqual([...kept, ...added]);
  });

  test('twice is the same as once', () => {
    fc.assert(
      fc.property(fc.constantFrom('', 'max_batch_size: 4', 'parameters []'), (text) => {
        const once = configText(text, candidate);
        expect(configText(once, candidate)).toBe(once);
      }),
    );
  });

  test('in JSON, in either spelling', () => {
    const message = {
      maxBatchSize: 4,
      instanceGroup: [{ count: 9 }],
      dynamicBatching: { maxQueueDelayMicroseconds: '7', preferredBatchSize: [2] },
      parameters: { pooling: { string_value: 'cls' } },
    };
    expect(JSON.parse(configJson(message, candidate))).toEqual({
      maxBatchSize: 4,
      instance_group: [{ count: 3, kind: 'KIND_CPU' }],
      dynamic_batching: { preferredBatchSize: [2], max_queue_delay_microseconds: 500 },
      parameters: { pooling: { string_value: 'cls' }, intra_op_thread_count: { string_value: '2' } },
    });
  });
});

describe('an overlay', () => {
  const model = { 'm/config.pbtxt': 'max_batch_size: 2', 'm/1/model.onnx': 'x', 'm/rollout.yaml': '{}' };

  test('links all files but the configuration and the rollout, and goes away', async () => {
    const repository = await folder(model);
    const overlay = await openOverlay(repository, 'm');
    const made = await overlay.make(candidate);
    expect(await readFile(join(made, 'm/config.pbtxt'), 'utf8')).toBe(
      configText('max_batch_size: 2', candidate),
    );
    expect(await readlink(join(made, 'm/1'))).toBe(join(repository, 'm/1'));
    await expect(readFile(join(made, 'm/rollout.yaml'))).rejects.toThrow('ENOENT');
    await overlay.remove();
    await expect(readFile(join(made, 'm/config.pbtxt'))).rejects.toThrow('ENOENT');
    expect(await readFile(join(repository, 'm/1/model.onnx'), 'utf8')).toBe('x');
  });

  test("Hugging Face's config.json is linked, Triton's is written anew", async () => {
    const hub = await folder({ 'm/config.json': '{"model_type": "bert"}', 'm/1/model.onnx': '' });
    const ofHub = await openOverlay(hub, 'm');
    onTestFinished(() => ofHub.remove());
    expect(await readlink(join(await ofHub.make(candidate), 'm/config.json'))).toBe(
      join(hub, 'm/config.json'),
    );
    const triton = await folder({ 'm/config.json': '{"max_batch_size": 4}', 'm/1/model.onnx': '' });
    const ofTriton = await openOverlay(triton, 'm');
    onTestFinished(() => ofTriton.remove());
    const written = await readFile(join(await ofTriton.make(candidate), 'm/config.json'), 'utf8');
    expect(written).toBe(configJson({ max_batch_size: 4 }, candidate));
  });

  test.each([
    ['an unknown model', 'all-minlm', /no model all-minlm in .*Did you mean all-minilm\?/],
    ['one that is nothing like it', 'xyzzy', /no model xyzzy in .*It has all-minilm, gpu\./],
    ['a path', '../x', /no model \.\.\/x/],
    ['one that runs on GPUs', 'gpu', /asks for GPUs .*layouts of CPU cores only/],
  ])('%s is refused', async (_what, name, message) => {
    const repository = await folder({
      'all-minilm/1/model.onnx': '',
      'gpu/config.pbtxt': 'instance_group { kind: KIND_GPU }',
    });
    await expect(openOverlay(repository, name)).rejects.toThrow(message);
  });

  test('a repository that is not there is refused', async () => {
    await expect(openOverlay('/nowhere/models', 'm')).rejects.toThrow(/\/nowhere\/models is not a folder/);
  });
});

describe('lengths', () => {
  test('are read from JSON, from texts, and from an access log', async () => {
    const at = await folder({
      'a.json': '{"8": 120, "16": 300, "20": 0}',
      'b.txt': 'one text\r\n\nanother\n',
      'c.log': 'hello\n{"tokens": 8}\n{"tokens": [8, 30]}\n{"tokens": -1}\n{"other": 1}\nnull\n[1',
    });
    expect((await readLengths(join(at, 'a.json'))).lengths).toEqual(
      new Map([
        [8, 120],
        [16, 300],
      ]),
    );
    expect((await readLengths(join(at, 'b.txt'))).texts).toEqual(['one text', 'another']);
    expect((await readAccessLog(join(at, 'c.log'))).lengths).toEqual(
      new Map([
        [8, 2],
        [30, 1],
      ]),
    );
  });

  test.each([
    ['{"eight": 1}', /"eight": 1 is no count of texts by tokens/],
    ['{"8": "many"}', /"8": "many" is no count/],
    ['{"8": 0}', /no length with a count above 0/],
    ['{"8": 1', /begins like JSON but is none/],
    ['\n  \n', /is empty/],
  ])('%j is refused', async (contents, message) => {
    const at = await folder({ 'x.json': contents });
    await expect(readLengths(join(at, 'x.json'))).rejects.toThrow(message);
  });

  test('a file that is not there, and a log that tells no tokens', async () => {
    await expect(readLengths('/nowhere')).rejects.toThrow(/--lengths \/nowhere can't be read/);
    const at = await folder({ 'x.log': '{"ms": 3}\n' });
    await expect(readAccessLog(join(at, 'x.log'))).rejects.toThrow(/no line of JSON with "tokens"/);
  });

  test('are sampled in their shares, in every stretch', () => {
    const histogram = fc.dictionary(
      fc.integer({ min: 1, max: 500 }).map(String),
      fc.integer({ min: 1, max: 9 }),
      {
        minKeys: 1,
        maxKeys: 6,
      },
    );
    fc.assert(
      fc.property(histogram, (counts) => {
        const lengths = new Map(Object.entries(counts).map(([length, count]) => [Number(length), count]));
        const total = Object.values(counts).reduce((sum, count) => sum + count);
        const sample = sampleLengths(lengths, 500);
        for (const half of [sample.slice(0, 250), sample.slice(250)]) {
          for (const [length, count] of lengths) {
            const share = half.filter((one) => one === length).length / half.length;
            expect(Math.abs(share - count / total)).toBeLessThan(0.03);
          }
        }
      }),
    );
  });

  test('the built-in mixes: questions are short, passages long, mixed between', () => {
    const means = Object.values(mixes).map(meanLength);
    expect(means.map(Math.round)).toEqual([13, 135, 37]);
  });
});

describe('texts', () => {
  test('made ones have the wanted tokens, and none comes twice', async () => {
    const lengths = new Map([
      [12, 1],
      [40, 1],
    ]);
    const next = await textsOf({ name: 'x', lengths }, async (words) => {
      return { counts: words.map(() => 1), specialTokens: 2 };
    });
    const texts = Array.from({ length: 3000 }, next);
    expect(new Set(texts.map((text) => text.split(' ').length))).toEqual(new Set([10, 38]));
    expect(new Set(texts).size).toBe(texts.length);
  });

  test('words of several tokens make a text longer by less than one word', async () => {
    const lengths = new Map([[20, 1]]);
    const counted = new Map<string, number>();
    const next = await textsOf({ name: 'x', lengths }, async (words) => {
      const counts = words.map((_, index) => (index % 3) + 1);
      for (const [index, word] of words.entries()) counted.set(word, counts[index]!);
      return { counts, specialTokens: 2 };
    });
    for (const text of Array.from({ length: 200 }, next)) {
      const tokens = text.split(' ').reduce((sum, word) => sum + counted.get(word)!, 0);
      expect(tokens).toBeGreaterThanOrEqual(18);
      expect(tokens).toBeLessThanOrEqual(20);
    }
  });

  test('given ones are not sent themselves, but new ones of their lengths', async () => {
    const asked: number[] = [];
    const texts = Array.from({ length: 1500 }, (_, index) => (index % 2 === 0 ? 'a b c' : 'a b c d e f'));
    const next = await textsOf({ name: 'x', texts }, async (given) => {
      asked.push(given.length);
      return { counts: given.map((text) => text.split(' ').length), specialTokens: 2 };
    });
    // The words, then the texts in calls of a size that every server takes.
    expect(asked.slice(1)).toEqual([1000, 500]);
    const made = Array.from({ length: 1000 }, next);
    expect(made.filter((text) => text.split(' ').length === 6).length).toBeCloseTo(500, -1);
    expect(new Set(made.map((text) => text.split(' ').length))).toEqual(new Set([3, 6]));
  });
});
