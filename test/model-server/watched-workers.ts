import type { Channel, ChannelOptions } from '../../model-server/executor/channel.ts';
import type { ToWorker } from '../../model-server/executor/protocol.ts';

type Open = (options: ChannelOptions) => Channel;
type Moment = ToWorker['type'];

/** A real worker, seen from outside. */
export interface WatchedWorker {
  isolation: 'thread' | 'process';
  /** Path of its model file, once it has been told to open it. */
  modelFile: string;
  /** Ends it at once, as the system or a crash would. */
  kill(): void;
}

interface Trap {
  at: Moment;
  /** Part of the path of the model file. */
  model: string;
  spring(worker: WatchedWorker, post: () => void): void;
}

const traps = new Set<Trap>();

/** Every worker that was started and has not ended yet. */
export const liveWorkers = new Set<WatchedWorker>();

/** How many workers have been told to open this model. */
export const opened: string[] = [];

/** Stands in for the module of a channel (by `vi.mock`): real workers, but a test can hold or kill them at a moment. */
export function watched<M extends object>(original: M): M {
  const entries = Object.entries(original).map(([name, open]) => [
    name,
    watchOpen(open as Open, name === 'openProcess' ? 'process' : 'thread'),
  ]);
  return Object.fromEntries(entries) as M;
}

function watchOpen(open: Open, isolation: WatchedWorker['isolation']): Open {
  return (options) => {
    const channel = open(options);
    const worker: WatchedWorker = { isolation, modelFile: '', kill: () => channel.kill() };
    liveWorkers.add(worker);
    void channel.ended.then(() => liveWorkers.delete(worker));
    // What follows a held message waits behind it, so that the order stays.
    let held: (() => void)[] | undefined;
    const post: Channel['post'] = (message, transfer) => {
      const go = () => channel.post(message, transfer);
      if (message.type === 'open') {
        worker.modelFile = message.options.modelFile;
        opened.push(worker.modelFile);
      }
      if (held !== undefined) {
        held.push(go);
        return;
      }
      const trap = [...traps].find(
        ({ at, model }) => at === message.type && worker.modelFile.includes(model),
      );
      if (trap === undefined) {
        go();
        return;
      }
      const waiting = [go];
      held = waiting;
      trap.spring(worker, () => {
        held = undefined;
        for (const later of waiting) later();
      });
    };
    return { post, kill: () => channel.kill(), ended: channel.ended };
  };
}

/** What a trap has caught. */
export interface Caught {
  /** Resolves with the first worker that got there. */
  reached: Promise<WatchedWorker>;
  /** Lets what is held go on, and catches nothing more. */
  release(): void;
}

/** Holds every worker of a model when it is told to open, run or close. */
export function hold(at: Moment, model: string): Caught {
  const reached = Promise.withResolvers<WatchedWorker>();
  const goOn: (() => void)[] = [];
  const trap: Trap = {
    at,
    model: `/${model}/`,
    spring(worker, post) {
      goOn.push(post);
      reached.resolve(worker);
    },
  };
  traps.add(trap);
  const release = () => {
    traps.delete(trap);
    for (const go of goOn.splice(0)) go();
  };
  return { reached: reached.promise, release };
}

/** Kills the next `times` workers of a model that are told to open, run or close, before they do it. */
export function killAt(at: Moment, model: string, times = 1): void {
  let left = times;
  const trap: Trap = {
    at,
    model: `/${model}/`,
    spring(worker) {
      left -= 1;
      if (left === 0) traps.delete(trap);
      worker.kill();
    },
  };
  traps.add(trap);
}

/** Forgets all traps and what has been counted. */
export function resetWorkers(): void {
  traps.clear();
  opened.length = 0;
}
