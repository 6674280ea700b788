import { Server, ServerCredentials } from '@grpc/grpc-js';

// A process of its own with the least that a gRPC server in Node can do: it reads nothing of a request, and answers with
// bytes that are ready. What it reaches is the ceiling of any server on @grpc/grpc-js.

/** It is told how long its answers are to be, and tells its port; then it tells its CPU microseconds whenever it is asked. */
export interface CeilingSizes {
  unaryBytes: number;
  streamBytes: number;
}

const asIs = (data: Buffer) => data;
const method = (path: string, isStream: boolean) => ({
  path,
  requestStream: isStream,
  responseStream: isStream,
  requestSerialize: asIs,
  requestDeserialize: asIs,
  responseSerialize: asIs,
  responseDeserialize: asIs,
});

async function listen({ unaryBytes, streamBytes }: CeilingSizes): Promise<number> {
  const server = new Server({ 'grpc.max_send_message_length': -1, 'grpc.max_concurrent_streams': 1024 });
  const [unaryReply, streamReply] = [Buffer.alloc(unaryBytes), Buffer.alloc(streamBytes)];
  const path = '/nereid.serving.v1.EmbedService';
  server.addService(
    { embed: method(`${path}/Embed`, false), embedStream: method(`${path}/EmbedStream`, true) },
    {
      embed: (_call: unknown, answer: (error: null, reply: Buffer) => void) => answer(null, unaryReply),
      embedStream: (call: NodeJS.ReadWriteStream) => {
        call.on('data', () => call.write(streamReply));
        call.on('end', () => call.end());
      },
    },
  );
  return new Promise((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    ),
  );
}

process.on('message', async (message: CeilingSizes | 'usage') => {
  if (message === 'usage') {
    const { user, system } = process.cpuUsage();
    process.send!({ cpuUs: user + system });
  } else process.send!({ port: await listen(message) });
});
process.once('disconnect', () => process.exit());
