import { credentials, loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { protoPath } from 'grpc-health-check';
import { expect, it, onTestFinished, vi } from 'vitest';
import { serverConfigSchema } from '../../model-server/config.ts';
import { run } from '../../model-server/main.ts';
import { EmbedService } from '../../proto/gen/serving_pb.js';
import { eventually } from './eventually.ts';
import { TestClient } from './grpc-client.ts';
import { writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';
import { killAt, liveWorkers } from './watched-workers.ts';

vi.mock('../../model-server/executor/thread-channel.ts', async (original) =>
  (await import('./watched-workers.ts')).watched(await original()),
);

interface Health {
  watch(request: { service: string }): NodeJS.EventEmitter & { cancel(): void };
  close(): void;
}

/** What a watcher of the server's health is told, in order; the same again counts once. */
function watchHealth(port: number): string[] {
  const { grpc } = loadPackageDefinition(loadSync(protoPath, { enums: String })) as never as {
    grpc: { health: { v1: { Health: new (...args: unknown[]) => Health } } };
  };
  const health = new grpc.health.v1.Health(`127.0.0.1:${port}`, credentials.createInsecure());
  onTestFinished(() => health.close());
  const seen: string[] = [];
  const watch = health.watch({ service: '' });
  watch.on('data', ({ status }: { status: string }) => {
    if (seen.at(-1) !== status) seen.push(status);
  });
  watch.on('error', () => undefined);
  return seen;
}

it('health follows a model whose only worker is killed, and its coming back', async () => {
  const { path: modelRepository, remove } = temporaryFolder();
  onTestFinished(remove);
  for (const name of ['m', 'other']) writeTextModel(modelRepository, name);
  const ports = { grpcPort: 0, httpPort: 0, metricsPort: 0 };
  const settings = { ...ports, modelRepository, instances: 1, logLevel: 'silent' };
  const server = await run(serverConfigSchema.parse(settings));
  onTestFinished(() => server.close());
  const client = new TestClient(server.grpcPort);
  onTestFinished(() => client.close());
  const readyz = async () => (await fetch(`http://127.0.0.1:${server.httpPort}/readyz`)).status;
  const embed = (model: string) => client.ask(EmbedService.method.embed, { model, inputs: ['a text'] });
  const health = watchHealth(server.grpcPort);
  await eventually(() => expect(health).toEqual(['SERVING']));
  expect(await readyz()).toBe(200);

  killAt('run', 'm');
  await expect(embed('m')).rejects.toMatchObject({ reason: 'EXECUTOR_CRASHED' });
  await eventually(() => expect(health).toEqual(['SERVING', 'NOT_SERVING', 'SERVING']));
  expect(await readyz()).toBe(200);
  for (const model of ['m', 'other']) expect((await embed(model)).embeddings).toHaveLength(1);
  await server.close();
  expect(liveWorkers.size).toBe(0);
});
