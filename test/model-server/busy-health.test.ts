import { expect, it, onTestFinished, vi } from 'vitest';
import { serverConfigSchema } from '../../model-server/config.ts';
import { run } from '../../model-server/main.ts';
import { EmbedService } from '../../proto/gen/serving_pb.js';
import { eventually } from './eventually.ts';
import { TestClient } from './grpc-client.ts';
import { writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';
import { hold, resetWorkers } from './watched-workers.ts';

vi.mock('../../model-server/executor/thread-channel.ts', async (original) =>
  (await import('./watched-workers.ts')).watched(await original()),
);

/** A server over one tiny model on one instance. */
async function start(settings: object = {}) {
  const { path: modelRepository, remove } = temporaryFolder();
  onTestFinished(remove);
  writeTextModel(modelRepository, 'm');
  // Without a warm-up in the background, so that what runs is what the test asks for.
  const quiet = { logLevel: 'silent', instances: 1, embeddingCacheMb: 0, warmUpMs: 0 };
  const free = { grpcPort: 0, httpPort: 0, metricsPort: 0, ...quiet };
  const server = await run(serverConfigSchema.parse({ ...free, modelRepository, ...settings }));
  onTestFinished(() => server.close());
  const client = new TestClient(server.grpcPort);
  onTestFinished(() => client.close());
  onTestFinished(resetWorkers);
  const ask = (path: string) => fetch(`http://127.0.0.1:${server.httpPort}${path}`);
  const embed = (text: string) => client.ask(EmbedService.method.embed, { model: 'm', inputs: [text] });
  const readiness = async () => {
    const reply = await ask('/readyz');
    return { status: reply.status, text: await reply.text() };
  };
  return { ask, embed, readiness };
}

it('a server whose only instance is busy for long is alive and ready, batch after batch', async () => {
  const { ask, embed, readiness } = await start({ maxBatchItems: 1 });
  const first = hold('run', 'm');
  const answers = Array.from({ length: 12 }, (_, at) => embed(`text ${at}`));
  let held = first;
  for (let batch = 0; batch < 3; batch++) {
    await held.reached;
    expect((await ask('/healthz')).status).toBe(200);
    expect((await readiness()).status).toBe(200);
    const next = hold('run', 'm');
    held.release();
    held = next;
  }
  held.release();
  for (const { embeddings } of await Promise.all(answers)) expect(embeddings).toHaveLength(1);
  expect((await readiness()).status).toBe(200);
});

it('one whose only instance is stuck says so, and is ready again with the next instance', async () => {
  const { ask, embed, readiness } = await start({ watchdogMs: 2000 });
  const stuck = hold('run', 'm');
  const asking = embed('a text');
  asking.catch(() => undefined);
  await stuck.reached;
  const respawned = hold('open', 'm');
  await expect(asking).rejects.toMatchObject({ reason: 'EXECUTOR_CRASHED' });
  const { status, text } = await readiness();
  expect(status).toBe(503);
  expect(text).toContain('no instance works at the moment: it gave no sign of life for 2000 ms');
  expect((await ask('/healthz')).status).toBe(200);
  await respawned.reached;
  stuck.release();
  respawned.release();
  await eventually(async () => expect((await readiness()).status).toBe(200));
  expect((await embed('a text')).embeddings).toHaveLength(1);
});
