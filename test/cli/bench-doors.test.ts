import { fromBinary, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { DISCONNECTED, type Door, type DoorOptions, OK, UNANSWERED } from '../../cli/bench/door.ts';
import { framed, GrpcDoor } from '../../cli/bench/grpc-door.ts';
import { grpcTimeout } from '../../cli/bench/grpc-words.ts';
import { failureOfBody, HttpDoor } from '../../cli/bench/http-door.ts';
import { EMBED_PATH, EMBED_STREAM_PATH, protoWire } from '../../cli/bench/nereid-wires.ts';
import { StreamDoor, streamFrame } from '../../cli/bench/stream-door.ts';
import { EmbedRequestSchema, EmbedStreamRequestSchema } from '../../proto/gen/serving_pb.js';
import { startFakeEmbedServer } from './fake-embed-server.ts';
import { startFakeHttp } from './fake-http.ts';

const wire = protoWire('mini');
const bare = (...texts: string[]) => Buffer.from(wire.encode(texts, []));

interface Outcome {
  slot: number;
  reason: string;
  message: string | undefined;
  vectors: number[][] | undefined;
}

/** A door with its outcomes in order. */
function opened(make: (options: DoorOptions) => Door, origin: string, more: Partial<DoorOptions> = {}) {
  const outcomes: Outcome[] = [];
  const door = make({
    origin,
    path: EMBED_PATH,
    headers: {},
    settled: (slot, reason, { reply, message } = {}) => {
      const vectors = reply && wire.vectors(reply.body, reply.headers).map((vector) => Array.from(vector));
      outcomes.push({ slot, reason, message, vectors });
    },
    ...more,
  });
  onTestFinished(() => door.close());
  const settled = (count: number) =>
    vi.waitFor(() => expect(outcomes).toHaveLength(count), { timeout: 20_000 });
  return { door, outcomes, settled };
}

const kinds = [
  {
    kind: 'unary',
    make: (options: DoorOptions) => new GrpcDoor(options),
    path: EMBED_PATH,
    body: (...texts: string[]) => framed(bare(...texts)),
  },
  {
    kind: 'stream',
    make: (options: DoorOptions) => new StreamDoor(options),
    path: EMBED_STREAM_PATH,
    body: bare,
  },
];

describe.each(kinds)('gRPC $kind', ({ make, path, body }) => {
  test('calls are answered each in its slot; replies are kept where wanted', async () => {
    const server = await startFakeEmbedServer();
    const { door, outcomes, settled } = opened(make, `http://${server.address}`, {
      path,
      headers: { 'nereid-priority': 'bulk' },
    });
    await door.open();
    for (let slot = 0; slot < 50; slot++) door.send(slot, body(`text ${slot}`, 'ü'), slot % 10 === 0);
    await settled(50);
    expect(outcomes.map(({ slot }) => slot).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 50 }, (_, i) => i),
    );
    for (const { slot, reason, vectors } of outcomes) {
      expect(reason).toBe(OK);
      expect(vectors).toEqual(
        slot % 10 === 0
          ? [
              [1, 2, 3],
              [1, 2, 3],
            ]
          : undefined,
      );
    }
    expect(server.texts.filter((text) => text !== 'ü').sort()).toEqual(
      Array.from({ length: 50 }, (_, i) => `text ${i}`).sort(),
    );
    expect(server.metadata()).toMatchObject({ 'nereid-priority': 'bulk' });
  });

  test('replies that are larger than a packet are put together', async () => {
    const server = await startFakeEmbedServer();
    server.vector = Array.from({ length: 50_000 }, (_, i) => i);
    const { door, outcomes, settled } = opened(make, `http://${server.address}`, { path });
    await door.open();
    door.send(1, body('a'), true);
    door.send(2, body('b'), false);
    await settled(2);
    const kept = outcomes.find(({ slot }) => slot === 1)!;
    expect(kept.vectors![0]).toHaveLength(50_000);
    expect(kept.vectors![0]!.at(-1)).toBe(49_999);
  });

  test('a refusal is told by its reason', async () => {
    const server = await startFakeEmbedServer();
    server.before = ([text]) =>
      text === 'good' ? undefined : { code: 8, reason: 'QUEUE_FULL', details: 'the queue is full: 5 texts' };
    const { door, outcomes, settled } = opened(make, `http://${server.address}`, { path });
    await door.open();
    door.send(0, body('bad'), false);
    door.send(1, body('good'), false);
    await settled(2);
    expect(outcomes.find(({ slot }) => slot === 0)).toMatchObject({
      reason: 'QUEUE_FULL',
      message: 'the queue is full: 5 texts',
    });
    expect(outcomes.find(({ slot }) => slot === 1)!.reason).toBe(OK);
  });

  test('calls in flight are told when the connection breaks, and the next ones connect again or fail alike', async () => {
    const server = await startFakeEmbedServer();
    const asked = Promise.withResolvers<void>();
    server.before = () => {
      asked.resolve();
      return new Promise(() => undefined);
    };
    const { door, outcomes, settled } = opened(make, `http://${server.address}`, { path });
    await door.open();
    door.send(7, body('a'), false);
    await asked.promise;
    server.kill();
    await settled(1);
    expect([DISCONNECTED, 'CANCELLED', 'UNAVAILABLE']).toContain(outcomes[0]!.reason);
    door.send(8, body('b'), false);
    await settled(2);
    expect(outcomes[1]).toMatchObject({ slot: 8, reason: DISCONNECTED });
  });

  test('what is given up is told as unanswered', async () => {
    const server = await startFakeEmbedServer();
    const asked = Promise.withResolvers<void>();
    server.before = () => {
      asked.resolve();
      return new Promise(() => undefined);
    };
    const { door, outcomes, settled } = opened(make, `http://${server.address}`, { path });
    await door.open();
    door.send(1, body('a'), false);
    door.send(2, body('b'), false);
    await asked.promise;
    door.abandon();
    await settled(2);
    expect(outcomes.map(({ reason }) => reason)).toEqual([UNANSWERED, UNANSWERED]);
    // And the door still works.
    server.before = () => undefined;
    door.send(3, body('c'), false);
    await settled(3);
    expect(outcomes[2]).toMatchObject({ slot: 3, reason: OK });
  });

  test('opening tells when nobody is there', async () => {
    const { door } = opened(make, 'http://127.0.0.1:1', { path });
    await expect(door.open()).rejects.toThrow(/ECONNREFUSED/);
  });
});

test('a call to nobody is told', async () => {
  const { door, outcomes, settled } = opened((options) => new GrpcDoor(options), 'http://127.0.0.1:1');
  door.send(0, framed(bare('a')), false);
  await settled(1);
  expect(outcomes[0]!.reason).toBe(DISCONNECTED);
});

test('a gRPC deadline has at most eight digits', () => {
  expect([grpcTimeout(200), grpcTimeout(0.5), grpcTimeout(3e8)]).toEqual(['200m', '1m', '300000S']);
});

test('a message of a stream is what the generated code makes of it', () => {
  fc.assert(
    fc.property(
      fc.nat({ max: 99_999_999 }),
      fc.array(fc.string({ unit: 'binary', maxLength: 400 }), { maxLength: 5 }),
      (slot, texts) => {
        const frame = streamFrame(slot, bare(...texts));
        expect(frame.readUInt32BE(1)).toBe(frame.length - 5);
        const message = fromBinary(EmbedStreamRequestSchema, frame.subarray(5));
        expect(Number(message.correlationId)).toBe(slot);
        expect(toBinary(EmbedRequestSchema, message.request!)).toEqual(wire.encode(texts, []));
      },
    ),
  );
});

describe('HTTP', () => {
  const make = (options: DoorOptions) => new HttpDoor(options);

  test('requests go over connections that are kept', async () => {
    const seen: string[] = [];
    const server = await startFakeHttp((request, body) => {
      seen.push(`${request.method} ${request.url} ${request.headers['content-type']} ${body}`);
      return { text: 'x' };
    });
    const { door, outcomes, settled } = opened(make, `${server.url}/base`, {
      path: '/embed',
      headers: { 'content-type': 'application/json' },
    });
    await door.open();
    for (let round = 1; round <= 5; round++) {
      for (const slot of [0, 1]) door.send(slot, Buffer.from('{}'), false);
      await settled(2 * round);
    }
    expect(new Set(outcomes.map(({ reason }) => reason))).toEqual(new Set([OK]));
    expect(new Set(seen)).toEqual(new Set(['POST /base/embed application/json {}']));
    // One is of open().
    expect(server.sockets()).toBe(3);
  });

  test.each([
    [429, '{"error":"too many","error_type":"overloaded"}', 'overloaded', 'too many'],
    [400, '{"error":"wrong shape"}', 'HTTP_400', 'wrong shape'],
    [400, '{"error":{"message":"no","code":"bad_input"}}', 'bad_input', 'no'],
    [
      504,
      '{"code":"deadline_exceeded","message":"late","reason":"DEADLINE_EXCEEDED"}',
      'DEADLINE_EXCEEDED',
      'late',
    ],
    [502, '<html>', 'HTTP_502', '<html>'],
    [500, 'null', 'HTTP_500', 'null'],
  ])('%i %s is told as %s', async (status, text, reason, message) => {
    expect(failureOfBody(text, status)).toEqual({ reason, message });
    const { url } = await startFakeHttp(() => ({ status, text }));
    const { door, outcomes, settled } = opened(make, url);
    door.send(3, Buffer.from(''), true);
    await settled(1);
    expect(outcomes[0]).toMatchObject({ slot: 3, reason, message });
  });

  test('nobody there, and a server that never answers', async () => {
    const gone = opened(make, 'http://127.0.0.1:1');
    await expect(gone.door.open()).rejects.toThrow(/ECONNREFUSED/);
    gone.door.send(0, Buffer.from(''), false);
    await gone.settled(1);
    expect(gone.outcomes[0]!.reason).toBe(DISCONNECTED);
    const asked = Promise.withResolvers<void>();
    const { url } = await startFakeHttp(() => {
      asked.resolve();
      return new Promise(() => undefined);
    });
    const mute = opened(make, url);
    mute.door.send(0, Buffer.from(''), false);
    await asked.promise;
    mute.door.abandon();
    await mute.settled(1);
    expect(mute.outcomes).toMatchObject([{ slot: 0, reason: UNANSWERED }]);
  });
});
