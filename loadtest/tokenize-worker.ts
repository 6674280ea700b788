import { parentPort, workerData } from 'node:worker_threads';
import { TextTokenizer } from '../model-server/tasks/tokenizer.ts';

// The server's tokenizer in another thread, to see what handing texts over would cost the thread that does it.

const tokenizer = TextTokenizer.load([workerData as string]);
parentPort!.on('message', async (texts: string[]) => {
  parentPort!.postMessage(await tokenizer.idsOf(texts));
});
parentPort!.postMessage('ready');
