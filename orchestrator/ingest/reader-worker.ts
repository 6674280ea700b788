import { parentPort } from 'node:worker_threads';
import { RagError } from '../errors.ts';
import type { ReaderReply, ReaderRequest } from './reader-protocol.ts';
import { readFileAsDocument } from './readers/read.ts';

const port = parentPort;
if (port === null) throw new Error('reader-worker.ts runs only as a worker thread');

async function read(file: ReaderRequest): Promise<ReaderReply> {
  try {
    const document = await readFileAsDocument(file, (done, total) => {
      port!.postMessage({ type: 'page', done, total } satisfies ReaderReply);
    });
    return { type: 'read', document };
  } catch (thrown) {
    if (thrown instanceof RagError) return { type: 'failed', reason: thrown.reason, message: thrown.message };
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return {
      type: 'failed',
      reason: 'DOCUMENT_UNREADABLE',
      message: `${file.name || 'The document'} could not be read: ${message}`,
    };
  }
}

port.on('message', (file: ReaderRequest) => {
  void read(file).then((reply) => port.postMessage(reply));
});
