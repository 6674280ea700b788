import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Channel, ChannelOptions } from './channel.ts';
import type { FromWorker } from './protocol.ts';

/** The child runs one session and makes little garbage of its own. */
const EXEC_ARGV = ['--max-semi-space-size=4', '--no-memory-protection-keys'];

/** Starts a child process. Its output goes where the server's goes. */
export function openProcess({ program, onMessage, onDeath, env }: ChannelOptions): Channel {
  const child = fork(fileURLToPath(program), [], {
    serialization: 'advanced',
    execArgv: EXEC_ARGV,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    ...(env === undefined ? {} : { env }),
  });
  const ended = Promise.withResolvers<void>();
  const end = (why: string) => {
    onDeath(why);
    ended.resolve();
  };
  child.on('message', (message) => onMessage(message as FromWorker));
  child.on('exit', (code, signal) =>
    end(`its process ${signal === null ? `ended with code ${code}` : `was ended by ${signal}`}`),
  );
  child.on('error', (error) => {
    // Without a process id it was never started and there will be no exit.
    if (child.pid === undefined) end(error.message);
  });
  // A child that can't be reached is of no use, whatever it still does.
  child.on('disconnect', () => void child.kill('SIGKILL'));
  return {
    // What a dead child can't take is told by its exit. One that could not be started has no channel at all.
    post: (message) => void (child.connected && child.send(message, () => undefined)),
    kill: () => void child.kill('SIGKILL'),
    ended: ended.promise,
  };
}
