import type { Door, Settled } from './door.ts';
import { OK } from './door.ts';
import { framed } from './grpc-door.ts';
import { Load } from './load.ts';
import { machineClock } from './load-clock.ts';
import type { FromLoad, ToLoad } from './load-messages.ts';
import type { LoadTarget, RunPlan } from './load-plan.ts';
import { makeWire } from './make-wire.ts';
import { EMBED_STREAM_PATH } from './nereid-wires.ts';
import { makeDoor } from './open-door.ts';
import { seeded } from './random.ts';
import { RequestSource } from './request-source.ts';
import { faultOf, type Wire } from './wire.ts';

// The process that makes the load. It does nothing else, so that its CPU time is what the load costs.

/** Reason of a reply that is none, or not what was asked for. */
const BAD_REPLY = 'BAD_REPLY';

interface Opened {
  target: LoadTarget;
  door: Door;
  wire: Wire;
  source: RequestSource;
}

let opened: Opened | undefined;
let load: Load | undefined;
const random = seeded(Math.floor(Math.random() * 2 ** 32));

const tell = (message: FromLoad) => process.send!(message);

/** Opens the way to the server and encodes the requests. */
async function open(target: LoadTarget): Promise<void> {
  const wire = makeWire(target.wire);
  const isGrpc = target.door !== 'http';
  const door = makeDoor(target.door, {
    origin: target.origin,
    path: target.door === 'grpc-stream' ? EMBED_STREAM_PATH : wire.path,
    headers: isGrpc ? target.headers : { ...wire.headers, ...target.headers },
    settled,
  });
  const source = new RequestSource(target.pool, {
    textsPerCall: target.textsPerCall,
    firstText: target.firstText,
    encode: (texts, first) => {
      const rows = texts.map((_, i) => target.rows[(first + i) % target.rows.length] ?? []);
      const message = wire.encode(texts, rows);
      return target.door === 'grpc' ? framed(message) : message;
    },
  });
  opened = { target, door, wire, source };
  await door.open();
  tell({ kind: 'opened' });
}

const settled: Settled = (slot, reason, more) => {
  const reply = more?.reply;
  if (reason !== OK || reply === undefined) {
    load!.settled(slot, reason, more);
    return;
  }
  const { wire, target } = opened!;
  try {
    const expected = { vectors: target.textsPerCall, dimension: target.dimension };
    const fault = faultOf(wire.vectors(reply.body, reply.headers), expected);
    if (fault === undefined) load!.settled(slot, OK);
    else load!.settled(slot, BAD_REPLY, { message: fault });
  } catch (error) {
    load!.settled(slot, BAD_REPLY, { message: (error as Error).message });
  }
};

async function run(plan: RunPlan): Promise<void> {
  const { door, source } = opened!;
  load = new Load({ door, source, plan, random, clock: machineClock });
  tell({ kind: 'result', result: await load.run() });
}

const work = async (message: ToLoad) => {
  try {
    if (message.kind === 'open') await open(message.target);
    else if (message.kind === 'run') await run(message.plan);
    else load?.stop();
  } catch (thrown) {
    const error = thrown as NodeJS.ErrnoException;
    tell({ kind: 'failed', message: error.message || String(error.code), code: error.code ?? '' });
  }
};

process.on('message', (message) => void work(message as ToLoad));
// Ctrl-C reaches all processes of the terminal; the command says what to do about it.
process.on('SIGINT', () => undefined);
process.once('disconnect', () => process.exit());
