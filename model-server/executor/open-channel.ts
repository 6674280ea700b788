import type { Channel, ChannelOptions, Isolation } from './channel.ts';
import { openProcess } from './process-channel.ts';
import { openThread } from './thread-channel.ts';

/**
 * Starts a worker. One that can't be started, for want of memory or of file handles, is told as one that has died: that is
 * when instances are started again, and it must not end the server.
 */
export function openChannel(isolation: Isolation, options: ChannelOptions): Channel {
  try {
    return isolation === 'process' ? openProcess(options) : openThread(options);
  } catch (thrown) {
    const ended = Promise.resolve().then(() =>
      options.onDeath(`its ${isolation} can't be started: ${(thrown as Error).message}`),
    );
    return { post: () => undefined, kill: () => undefined, ended };
  }
}
